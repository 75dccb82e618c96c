//! Files as they are written into a folder: one after the other, a part at a time, with their sums behind them.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

use crate::Result;
use crate::peft::io::File;
use crate::peft::stream::StreamedFile;
use crate::train::checkpoint::hex;

/// The hashes of a checkpoint's other files, as `sha256sum -c` reads them.
pub const SUMS: &str = "SHA256SUMS";

/// Files that are to be written into a folder, in their order.
pub struct Parts<'a> {
    files: VecDeque<StreamedFile<'a>>,
    /// What the file of sums says so far, where there is to be one.
    sums: Option<String>,
    /// The hash of the file that is being written.
    hash: Sha256,
}

impl<'a> Parts<'a> {
    /// These files.
    pub fn new(files: Vec<StreamedFile<'a>>) -> Self {
        Self { files: files.into(), sums: None, hash: Sha256::new() }
    }

    /// These, and [`SUMS`] after them.
    pub fn with_sums(files: Vec<StreamedFile<'a>>) -> Self {
        Self { sums: Some(String::new()), ..Self::new(files) }
    }

    /// The next part, under the name of its file: parts of one file come behind each other, and each file has one at least.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn next(&mut self) -> Result<Option<File>> {
        while let Some(file) = self.files.front_mut() {
            let name = file.name;
            if let Some(bytes) = file.next().await? {
                if self.sums.is_some() {
                    self.hash.update(&bytes);
                }
                return Ok(Some(File { name, bytes }));
            }
            self.files.pop_front();
            if let Some(sums) = &mut self.sums {
                sums.push_str(&format!("{}  {name}\n", hex(&self.hash.finalize_reset())));
            }
        }
        Ok(self.sums.take().map(|sums| File { name: SUMS, bytes: sums.into_bytes() }))
    }
}
