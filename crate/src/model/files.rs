//! A model as the files that a person has: a GGUF file, all parts of one, or what is in a folder of Hugging Face's.

use super::folder;
use crate::Result;
use crate::format::gguf::Gguf;
use crate::format::source::ReadAt;

/// What the files that make up a model's folder end in, and those that it may have in their place.
const OF_FOLDERS: [&str; 5] = ["json", "jinja", "safetensors", "bin", "model"];

/// Whether a file of this name is one of those that make up a folder.
pub fn is_of_folder(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, end)| OF_FOLDERS.contains(&end))
}

/// Opens a model that was given as its files, in any order; `name` is what a folder is called, which may be empty.
///
/// # Errors
/// As [`Gguf::open_parts`] and [`folder::open`].
pub fn open(name: &str, mut files: Vec<Box<dyn ReadAt>>) -> Result<Gguf> {
    // Parts are counted in their names, and the tensors of a folder are read file by file: the order decides nothing else.
    files.sort_by(|one, other| one.name().cmp(other.name()));
    if files.is_empty() || files.iter().any(|file| is_of_folder(file.name())) {
        files.retain(|file| is_of_folder(file.name()));
        return folder::open(name, files);
    }
    Gguf::open_parts(files)
}
