//! The sums of a checkpoint's files, by which one that was torn or damaged is known.

use super::files::{CHECKPOINT_FILES, STATE, sha256};
use super::parts::SUMS;
use super::store::Store;
use crate::Result;
use crate::peft::io::{File, TENSORS};
use crate::train::checkpoint::{OPTIMIZER, PROGRESS};

/// The files of a checkpoint, if they are as they were written, or what is wrong with them. `need_sums`: whether there must be
/// sums. Where there need be none, that the files are there is all that can be seen.
///
/// # Errors
/// When the record cannot be read.
pub async fn whole(store: &impl Store, folder: &str, need_sums: bool) -> Result<Result<Vec<File>, String>> {
    let mut files = Vec::new();
    for name in CHECKPOINT_FILES {
        if let Some(bytes) = store.read(&format!("{folder}/{name}")).await? {
            files.push(File { name, bytes });
        }
    }
    Ok(match damage(&files, need_sums) {
        None => Ok(files),
        Some(what) => Err(what),
    })
}

fn damage(files: &[File], need_sums: bool) -> Option<String> {
    let file = |name: &str| files.iter().find(|file| file.name == name);
    let needed = [OPTIMIZER, PROGRESS, SUMS];
    if let Some(name) = needed[..if need_sums { 3 } else { 2 }].iter().find(|name| file(name).is_none()) {
        return Some(format!("there is no {name} in it"));
    }
    let sums = String::from_utf8_lossy(&file(SUMS)?.bytes);
    let mut seen = Vec::new();
    for line in sums.split_inclusive('\n') {
        match line.strip_suffix('\n').and_then(|line| line.split_once("  ")) {
            Some((sum, name)) if CHECKPOINT_FILES.contains(&name) => {
                if file(name).is_none_or(|file| sha256(&file.bytes) != sum) {
                    return Some(format!("{name} is not what was written"));
                }
                seen.push(name);
            }
            _ => return Some(format!("{SUMS} is not what was written")),
        }
    }
    // A file of sums that was cut at the end of a line.
    let unseen = [TENSORS, OPTIMIZER, PROGRESS, STATE].into_iter().find(|name| !seen.contains(name));
    unseen.map(|name| format!("{SUMS} says nothing of {name}"))
}
