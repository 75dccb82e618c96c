//! Where a file's bytes come from: the disk, memory, or (in a Worker) a `Blob`.

use crate::{Error, Result};

/// A file that can be read at any place. Synchronous, since all of it runs off the page's main thread.
pub trait ReadAt {
    /// The name to use in messages.
    fn name(&self) -> &str;

    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the bytes from `offset` on; an error if there are fewer.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// A file held in memory.
pub struct MemorySource {
    name: String,
    bytes: Vec<u8>,
}

impl MemorySource {
    /// A source of `bytes`, called `name` in messages.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        MemorySource { name: name.into(), bytes }
    }
}

impl ReadAt for MemorySource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).ok();
        let found = from.and_then(|from| self.bytes.get(from..from.checked_add(buf.len())?));
        buf.copy_from_slice(found.ok_or_else(|| Error::io(&self.name, past_end(offset, buf.len(), self.len())))?);
        Ok(())
    }
}

/// A file on disk.
#[cfg(not(target_arch = "wasm32"))]
pub struct FileSource {
    name: String,
    len: u64,
    file: std::fs::File,
}

#[cfg(not(target_arch = "wasm32"))]
impl FileSource {
    /// Opens the file at `path` for reading.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let name = path.as_ref().display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::io(&name, e))?;
        let metadata = file.metadata().map_err(|e| Error::io(&name, e))?;
        if metadata.is_dir() {
            return Err(Error::io(&name, "this is a folder, and a file was expected"));
        }
        Ok(FileSource { name, len: metadata.len(), file })
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl ReadAt for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(Error::io(&self.name, past_end(offset, buf.len(), self.len)));
        }
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(buf)).map_err(|e| Error::io(&self.name, e))
    }
}

fn past_end(offset: u64, wanted: usize, len: u64) -> String {
    format!("{wanted} bytes were wanted at byte {offset}, and the file has {len} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &dyn ReadAt) {
        assert_eq!(source.len(), 5);
        let mut buf = [0; 3];
        source.read_at(2, &mut buf).unwrap();
        assert_eq!(&buf, b"llo");
        source.read_at(5, &mut []).unwrap();
        for offset in [3, 6, u64::MAX] {
            let error = source.read_at(offset, &mut buf).unwrap_err();
            assert_eq!(error.code(), "io");
            assert!(error.to_string().contains(source.name()), "{error}");
        }
    }

    #[test]
    fn memory() {
        check(&MemorySource::new("words", b"hello".to_vec()));
    }

    #[test]
    fn file() {
        let path = std::env::temp_dir().join(format!("tunesmith-source-{}", std::process::id()));
        std::fs::write(&path, b"hello").unwrap();
        check(&FileSource::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(FileSource::open(&path).err().unwrap().code(), "io");
        assert_eq!(FileSource::open(std::env::temp_dir()).err().unwrap().code(), "io");
    }
}
