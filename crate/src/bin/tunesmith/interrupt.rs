//! Ctrl-C: the first asks the run to stop after the step, the second ends it at once.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use tunesmith::{Error, Result};

/// The exit code of a run that was asked to stop.
const CODE: u8 = 130;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C asks, rather than ends.
///
/// # Errors
/// When the system refuses.
pub fn listen() -> Result<()> {
    let asked = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(CODE.into());
        }
    };
    ctrlc::set_handler(asked).map_err(|error| Error::io("Ctrl-C", error))
}

/// Whether it was asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// The exit code of a run that was.
pub fn code() -> ExitCode {
    CODE.into()
}
