//! Where the files of a record lie.

use std::future::Future;

use super::parts::Parts;
use crate::Result;

/// A place for the files of one record: a folder on a disk, or one in the storage that a browser gives a page.
pub trait Store {
    /// What messages call it.
    fn name(&self) -> String;

    /// The names of the files and folders in it; none where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be read.
    fn entries(&self) -> impl Future<Output = Result<Vec<String>>>;

    /// Bytes of all files in it, those of its folders among them.
    ///
    /// # Errors
    /// When it cannot be read.
    fn bytes(&self) -> impl Future<Output = Result<u64>>;

    /// A file, or none where there is no such file. `path` is its name, behind that of a folder and a slash where it lies in one.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &str) -> impl Future<Output = Result<Option<Vec<u8>>>>;

    /// Writes a file in the place of the one of this name. Whenever that ends, one of the two is there, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    fn write(&mut self, name: &str, bytes: &[u8]) -> impl Future<Output = Result<()>>;

    /// Writes at the end of a file.
    ///
    /// # Errors
    /// When it cannot be written.
    fn append(&mut self, name: &str, bytes: &[u8]) -> impl Future<Output = Result<()>>;

    /// Writes a folder in the place of the one of this name, the files in their order: what the last one says of the others holds
    /// of what lies on the disk by then.
    ///
    /// # Errors
    /// When it cannot be written, or the device failed that a file is read from.
    fn write_folder(&mut self, name: &str, files: Parts<'_>) -> impl Future<Output = Result<()>>;

    /// Removes a folder and its files, if it is there.
    ///
    /// # Errors
    /// When it cannot be removed.
    fn remove_folder(&mut self, name: &str) -> impl Future<Output = Result<()>>;
}
