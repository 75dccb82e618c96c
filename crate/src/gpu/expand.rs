//! WGSL sources to the text of one kernel. The build expands every kernel to check it, and the program each that it compiles:
//! what it carries is the sources alone, each once.
//!
//! The preprocessor knows five directives, each alone on its line:
//!
//! - `#import path` inserts another file of `shaders/`;
//! - `#ifdef FLAG`, `#else`, `#endif` keep or drop lines;
//! - `#for i COUNT`, `#endfor` repeat lines, with `$i` replaced by 0, 1, … COUNT-1 (shader compilers in browsers do
//!   not unroll loops, and a loop over a register array would put it in memory); COUNT is a number or a flag;
//! - `$FLAG` is replaced by the flag's value.
//!
//! Build scripts include this file, so it uses nothing but the standard library.

/// Flags and their values.
pub type Flags<'a> = [(&'a str, &'a str)];

/// The WGSL of a file of `shaders/` under some flags. `read` gives the text of a file by its path there.
///
/// # Errors
/// What is wrong with a directive, or the file that is not there.
pub fn expand<'a>(path: &'a str, flags: &Flags, read: &impl Fn(&str) -> Option<&'a str>) -> Result<String, String> {
    let mut lines = Vec::new();
    import(path, read, &mut lines)?;
    let kept = chosen(&lines, flags)?;
    let mut out = String::new();
    unroll(&kept, flags, &mut out)?;
    Ok(out)
}

/// The lines of a file, with those of the files that it imports in their places.
fn import<'a>(path: &str, read: &impl Fn(&str) -> Option<&'a str>, lines: &mut Vec<&'a str>) -> Result<(), String> {
    let source = read(path).ok_or_else(|| format!("there is no {path}"))?;
    for line in source.lines() {
        match line.trim().strip_prefix("#import ") {
            Some(path) => import(path, read, lines)?,
            None => lines.push(line),
        }
    }
    Ok(())
}

/// The lines that the conditions keep.
fn chosen<'a>(lines: &[&'a str], flags: &Flags) -> Result<Vec<&'a str>, String> {
    let mut kept = Vec::new();
    let mut conditions: Vec<bool> = Vec::new();
    for line in lines {
        let word = line.trim();
        if let Some(flag) = word.strip_prefix("#ifdef ") {
            conditions.push(flags.iter().any(|(name, _)| *name == flag.trim()));
        } else if word == "#else" {
            let last = conditions.last_mut().ok_or("#else without #ifdef")?;
            *last = !*last;
        } else if word == "#endif" {
            conditions.pop().ok_or("#endif without #ifdef")?;
        } else if conditions.iter().all(|&kept| kept) {
            kept.push(*line);
        }
    }
    if conditions.is_empty() { Ok(kept) } else { Err("#ifdef without #endif".into()) }
}

fn unroll(lines: &[&str], flags: &Flags, out: &mut String) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let Some(header) = lines[at].trim().strip_prefix("#for ") else {
            if lines[at].trim() == "#endfor" {
                return Err("#endfor without #for".into());
            }
            substitute(lines[at], flags, out);
            out.push('\n');
            at += 1;
            continue;
        };
        let mut depth = 1;
        let end = (at + 1..lines.len())
            .find(|&line| {
                let word = lines[line].trim();
                depth += i32::from(word.starts_with("#for ")) - i32::from(word == "#endfor");
                depth == 0
            })
            .ok_or("#for without #endfor")?;
        let (name, count) = header.trim().split_once(' ').ok_or("#for needs a name and a count")?;
        let flag = flags.iter().find(|(flag, _)| *flag == count.trim());
        let count = flag.map_or(count.trim(), |(_, value)| value);
        let count: u32 = count.parse().map_err(|_| format!("#for {name}: {count} is not a number"))?;
        for i in 0..count {
            let i = i.to_string();
            let outer = flags.iter().filter(|(flag, _)| *flag != name).copied();
            let inner: Vec<_> = outer.chain([(name, i.as_str())]).collect();
            unroll(&lines[at + 1..end], &inner, out)?;
        }
        at = end + 1;
    }
    Ok(())
}

/// Appends a line with the values of flags in their places. Of names that fit the longest does: `$rows` is no `$r` and `ows`.
fn substitute(line: &str, flags: &Flags, out: &mut String) {
    let mut parts = line.split('$');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let fitting = flags.iter().filter(|(name, _)| part.starts_with(name));
        match fitting.max_by_key(|(name, _)| name.len()) {
            Some((name, value)) => {
                out.push_str(value);
                out.push_str(&part[name.len()..]);
            }
            None => {
                out.push('$');
                out.push_str(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first of some files becomes.
    fn expanded(files: &[(&'static str, &'static str)], flags: &Flags) -> Result<String, String> {
        let read = |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| *text);
        expand(files[0].0, flags, &read)
    }

    #[test]
    fn files_are_inserted_where_they_are_imported() {
        let files = [("a", "1\n  #import b\n4"), ("b", "2\n#import c"), ("c", "3")];
        assert_eq!(expanded(&files, &[]).unwrap(), "1\n2\n3\n4\n");
        assert_eq!(expanded(&[("a", "#import b")], &[]).unwrap_err(), "there is no b");
    }

    #[test]
    fn conditions_keep_and_drop_lines() {
        let text = "#ifdef A\na\n#ifdef B\nb\n#else\nnot b\n#endif\n#else\nnot a\n#endif";
        assert_eq!(expanded(&[("a", text)], &[("A", "1")]).unwrap(), "a\nnot b\n");
        assert_eq!(expanded(&[("a", text)], &[("A", "1"), ("B", "0")]).unwrap(), "a\nb\n");
        assert_eq!(expanded(&[("a", text)], &[("B", "1")]).unwrap(), "not a\n");
        for (text, expected) in [
            ("#else", "#else without #ifdef"),
            ("#endif", "#endif without #ifdef"),
            ("#ifdef A", "#ifdef without #endif"),
        ] {
            assert_eq!(expanded(&[("a", text)], &[]).unwrap_err(), expected);
        }
    }

    #[test]
    fn loops_are_unrolled_and_flags_replaced() {
        let text = "#for i 2\n#for j N\nc$i_$j = $rows$r;\n#endfor\n#endfor\n$unknown 5$";
        let lines = "c0_0 = 78;\nc0_1 = 78;\nc1_0 = 78;\nc1_1 = 78;\n$unknown 5$\n";
        assert_eq!(expanded(&[("a", text)], &[("N", "2"), ("r", "8"), ("rows", "7")]).unwrap(), lines);
        // The innermost of one name counts.
        assert_eq!(
            expanded(&[("a", "#for i 1\n#for i 2\n$i\n#endfor\n$i\n#endfor")], &[("i", "9")]).unwrap(),
            "0\n1\n0\n"
        );
        assert_eq!(expanded(&[("a", "#for i 0\n$i\n#endfor")], &[]).unwrap(), "");
        for (text, expected) in [
            ("#for i 2", "#for without #endfor"),
            ("#endfor", "#endfor without #for"),
            ("#for i\n#endfor", "#for needs a name and a count"),
            ("#for i many\n#endfor", "#for i: many is not a number"),
        ] {
            assert_eq!(expanded(&[("a", text)], &[]).unwrap_err(), expected);
        }
    }
}
