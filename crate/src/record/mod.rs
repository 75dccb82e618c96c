//! The record of a run: all that is kept of it, in a folder of files or in the browser's own storage, in one form.
//! `docs/record.md` describes it.

mod about;
mod files;
mod keep;
mod keeper;
mod parts;
mod state;
mod store;
mod summary;
mod sums;

pub use about::{About, Base, RowsHash, VERSION};
pub use files::{
    CHECKPOINT_FILES, HELD_OUT, METRICS, RECORD, REFERENCE, ROWS, RUN, STATE, checkpoint_step, pretty, sha256,
};
pub use keep::{Checkpoint, Record};
pub use keeper::Keeper;
pub use parts::{Parts, SUMS};
pub use store::Store;
pub use summary::Summary;
