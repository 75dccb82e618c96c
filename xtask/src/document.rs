//! Documents with sections that commands write: their output, and nothing by hand.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::process::{Failure, Result, could_not_start, root, words};

/// Runs a command, shows its output as it comes, and returns it.
pub fn shown(command: &mut Command) -> Result<String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| could_not_start(command, error))?;
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().expect("it was asked to be piped")).lines() {
        let line = line.map_err(|error| Failure::new(format!("its output broke off: {error}"), "run it again"))?;
        println!("{line}");
        text += &line;
        text.push('\n');
    }
    let status = child.wait().map_err(|error| could_not_start(command, error))?;
    if status.success() {
        return Ok(text);
    }
    Err(Failure::new(format!("`{}` failed ({status})", words(command)), "see the lines above"))
}

/// Puts a section into a document of the repository, in place of the one of its name.
pub fn put_section(path: &str, name: &str, text: &str) -> Result<()> {
    let path = root().join(path);
    let document = fs::read_to_string(&path).map_err(|error| Failure::io(&path, error))?;
    fs::write(&path, with_section(&document, name, text)).map_err(|error| Failure::io(&path, error))
}

/// The document with this section in place of the one of its name, or at its end.
fn with_section(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->\n"));
    let section = format!("{begin}{text}{end}");
    let old = document.find(&begin).and_then(|from| Some((from, from + document[from..].find(&end)? + end.len())));
    match old {
        Some((from, to)) => format!("{}{section}{}", &document[..from], &document[to..]),
        None => format!("{}\n\n{section}", document.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_where_it_stands() {
        let one = with_section("# Speed\n", "a", "one\n");
        assert_eq!(one, "# Speed\n\n<!-- begin a -->\none\n<!-- end a -->\n");
        let two = with_section(&one, "b", "two\n");
        let again = with_section(&two, "a", "three\n");
        assert_eq!(again, two.replace("one", "three"));
    }
}
