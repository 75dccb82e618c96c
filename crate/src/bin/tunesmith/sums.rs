//! The sums of a checkpoint's files, by which one that was torn or damaged is known.

use std::path::Path;
use std::{fs, io};

use sha2::{Digest, Sha256};
use tunesmith::peft::io::{CARD, CONFIG, File as NamedFile, TENSORS};
use tunesmith::train::checkpoint::{BEST, OPTIMIZER, PROGRESS};

/// The metrics in the transformers library's form.
pub const STATE: &str = "trainer_state.json";
/// The hashes of a checkpoint's other files, as `sha256sum -c` reads them.
pub const SUMS: &str = "SHA256SUMS";
/// The files of a checkpoint, and those of the reference among them.
pub const CHECKPOINT_FILES: [&str; 8] = [CONFIG, TENSORS, CARD, OPTIMIZER, BEST, PROGRESS, STATE, SUMS];

/// The file of sums of these.
pub fn sums(files: &[NamedFile]) -> NamedFile {
    let sum = |file: &NamedFile| format!("{}  {}\n", sha256(&file.bytes), file.name);
    NamedFile { name: SUMS, bytes: files.iter().map(sum).collect::<String>().into_bytes() }
}

/// What of a checkpoint is not as it was written. One of an earlier version has no sums: that its files are there is all
/// that can be seen then.
pub fn damage(checkpoint: &Path) -> Option<String> {
    let missing = [OPTIMIZER, PROGRESS].into_iter().find(|name| !checkpoint.join(name).is_file());
    if let Some(name) = missing {
        return Some(format!("there is no {name} in it"));
    }
    let sums = match fs::read_to_string(checkpoint.join(SUMS)) {
        Ok(sums) => sums,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{SUMS}: {error}")),
    };
    let is_whole = |name: &str, sum: &str| fs::read(checkpoint.join(name)).is_ok_and(|bytes| sha256(&bytes) == sum);
    let mut seen = Vec::new();
    for line in sums.split_inclusive('\n') {
        match line.strip_suffix('\n').and_then(|line| line.split_once("  ")) {
            Some((sum, name)) if CHECKPOINT_FILES.contains(&name) => {
                if !is_whole(name, sum) {
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

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
