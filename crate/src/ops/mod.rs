//! The ops of the tape, one file each, under the same stem as their shaders.

mod activation;
mod add;
mod attention;
mod beside;
mod bias;
mod cache;
mod column_sum;
mod direction;
mod dropout;
mod embed;
mod importance;
mod linear;
mod loss;
mod lstm;
mod matmul;
mod mul;
mod optimizer;
mod orthogonality;
mod parameter;
mod prefix;
mod rms_norm;
mod rope;
mod scale;
mod scale_rows;
mod swiglu;
mod tune;

pub use activation::Activation;
pub use attention::{HEAD_DIMS, Heads, Masks};
pub use cache::CacheLayer;
pub use direction::Direction;
pub use importance::{Importance, record_importance, record_mask};
pub use linear::LowRank;
pub use loss::{LOSS_ROWS, Targets, loss_chunks};
pub use optimizer::{Hyper, PIECE, record_step};
pub use rope::RopeTable;
pub use tune::{Tried, tune};
