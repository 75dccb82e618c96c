//! Remembering what was built from what, so that nothing is built twice.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::process::{Failure, Result, target};

/// A fingerprint over files, folders and words, in the order they are given.
pub struct Fingerprint(Sha256);

impl Fingerprint {
    pub fn new() -> Self {
        Fingerprint(Sha256::new())
    }

    /// Words that change the result: a version, a flag.
    pub fn words(mut self, words: &str) -> Self {
        self.0.update((words.len() as u64).to_le_bytes());
        self.0.update(words);
        self
    }

    /// A file's content, or every file's in a folder by name, but for the names in `except`.
    pub fn path(mut self, path: &Path, except: &[&str]) -> Result<Self> {
        if path.is_dir() {
            let mut entries = fs::read_dir(path)
                .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
                .map_err(|error| Failure::io(path, error))?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let name = entry.file_name();
                if !except.iter().any(|skipped| name == *skipped) {
                    self = self.words(&name.to_string_lossy()).path(&entry.path(), except)?;
                }
            }
            return Ok(self);
        }
        Ok(self.words(&sha256(path)?))
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hexadecimal(&self.0.finalize())
    }
}

/// True when `name` was last stamped with this fingerprint.
pub fn is_current(name: &str, fingerprint: &str) -> bool {
    fs::read_to_string(target().join("stamps").join(name)).is_ok_and(|stamp| stamp == fingerprint)
}

/// Stamps `name`: call it once the thing is whole.
pub fn set(name: &str, fingerprint: &str) -> Result<()> {
    let folder = target().join("stamps");
    let path = folder.join(name);
    fs::create_dir_all(&folder).and_then(|()| fs::write(&path, fingerprint)).map_err(|error| Failure::io(&path, error))
}

/// The sha256 of a file, as 64 hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    let mut file = File::open(path).map_err(|error| Failure::io(path, error))?;
    loop {
        match file.read(&mut chunk).map_err(|error| Failure::io(path, error))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            length => hash.update(&chunk[..length]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = target().join("xtask-tests").join(name);
        fs::create_dir_all(folder.join("inner/skipped")).unwrap();
        folder
    }

    #[test]
    fn sha256_is_the_standard_one() {
        let path = folder("sha256").join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(sha256(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        fs::write(&path, "").unwrap();
        assert_eq!(sha256(&path).unwrap(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(sha256(&path.join("missing")).is_err());
    }

    #[test]
    fn a_fingerprint_sees_content_and_names_but_not_the_exceptions() {
        let folder = folder("fingerprint");
        let print = || Fingerprint::new().path(&folder, &["skipped"]).unwrap().finish();
        fs::write(folder.join("inner/a"), "one").unwrap();
        fs::write(folder.join("inner/skipped/b"), "one").unwrap();
        let before = print();
        fs::write(folder.join("inner/skipped/b"), "two").unwrap();
        assert_eq!(print(), before);
        fs::write(folder.join("inner/a"), "two").unwrap();
        let changed = print();
        assert_ne!(changed, before);
        fs::rename(folder.join("inner/a"), folder.join("inner/c")).unwrap();
        assert_ne!(print(), changed);
        fs::remove_file(folder.join("inner/c")).unwrap();
    }

    #[test]
    fn words_do_not_run_together() {
        let print = |words: &[&str]| words.iter().fold(Fingerprint::new(), |print, word| print.words(word)).finish();
        assert_ne!(print(&["ab", "c"]), print(&["a", "bc"]));
    }
}
