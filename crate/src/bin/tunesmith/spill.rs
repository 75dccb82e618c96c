//! A temporary file for what a run's memory does not hold; it is gone when the run is.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use tunesmith::train::Spill;
use tunesmith::{Error, Result};

/// The file.
pub struct TempFile(File);

impl TempFile {
    /// An empty one, in the system's folder for such files.
    ///
    /// # Errors
    /// When none can be made there.
    pub fn new() -> Result<Self> {
        tempfile::tempfile().map(Self).map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io(std::env::temp_dir().display().to_string(), error)
}

impl Spill for TempFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.0.seek(SeekFrom::Start(at)).and_then(|_| self.0.write_all(bytes)).map_err(failed)
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<()> {
        self.0.seek(SeekFrom::Start(at)).and_then(|_| self.0.read_exact(bytes)).map_err(failed)
    }
}
