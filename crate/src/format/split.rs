//! Models in several GGUF files, as llama.cpp's gguf-split writes them: `NAME-00002-of-00003.gguf`.

use std::collections::BTreeMap;

use super::gguf_value::{FromValue, Value};

/// What says how many files a model has, and which of them this is, from 0 on.
const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
/// Tensors in all of the files.
const TENSORS: &str = "split.tensors.count";

/// The name of a model's file without what says which part it is, and how many parts there are.
fn stem(name: &str) -> Option<(&str, usize)> {
    let (head, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = head.rsplit_once('-')?;
    let parse = |digits: &str| digits.parse::<usize>().ok().filter(|_| digits.len() == 5);
    let (number, count) = (parse(number)?, parse(count)?);
    (1..=count).contains(&number).then_some((stem, count))
}

/// The names of all files of the model of which `name` is one; `None` where that is not called like a part.
pub fn parts(name: &str) -> Option<impl Iterator<Item = String>> {
    let (stem, count) = stem(name)?;
    Some((1..=count).map(move |number| format!("{stem}-{number:05}-of-{count:05}.gguf")))
}

/// What the model in a file is called: the file's name without its ending, and without what says which part it is.
pub fn model_name(file: &str) -> &str {
    stem(file).map_or_else(|| file.trim_end_matches(".gguf"), |(stem, _)| stem)
}

/// Checks that a file is the part of a model that it was taken for, by its metadata.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(metadata: &BTreeMap<String, Value>, part: usize, parts: usize) -> Result<(), String> {
    let number = |key: &str, default: usize| match metadata.get(key) {
        None => Ok(default),
        Some(value) => {
            usize::from_value(value).ok_or_else(|| format!("{key} is {}, and a number was expected", value.describe()))
        }
    };
    let (own, count) = (number(NUMBER, 0)?, number(COUNT, 1)?.max(1));
    if count == 1 && parts > 1 {
        return Err(format!("this file is a whole model, and {parts} files are here: one was expected"));
    }
    if count != parts {
        return Err(format!("this is file {} of the {count} of a model, and {parts} of them are here", own + 1));
    }
    if own != part {
        return Err(format!("this is file {} of a model, and file {} was expected", own + 1, part + 1));
    }
    Ok(())
}

/// Takes what says that a model is split out of its metadata; and gives how many tensors it says there are.
pub(super) fn forget(metadata: &mut BTreeMap<String, Value>) -> Option<usize> {
    metadata.remove(COUNT);
    metadata.remove(NUMBER);
    metadata.remove(TENSORS).and_then(|value| usize::from_value(&value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let all: Vec<String> = parts("models/a-b-00002-of-00003.gguf").unwrap().collect();
        assert_eq!(
            all,
            ["models/a-b-00001-of-00003.gguf", "models/a-b-00002-of-00003.gguf", "models/a-b-00003-of-00003.gguf"]
        );
        for whole in
            ["a.gguf", "a-00004-of-00003.gguf", "a-00000-of-00003.gguf", "a-1-of-3.gguf", "a-00001-of-00003.bin"]
        {
            assert!(parts(whole).is_none(), "{whole}");
        }
        assert_eq!(model_name("a-00002-of-00003.gguf"), "a");
        assert_eq!(model_name("a-2.gguf"), "a-2");
    }
}
