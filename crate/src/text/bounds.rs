//! What a chat template may take. It comes with a model file, and a file may come from anywhere: none may end the program, hang it
//! or take its memory.
//!
//! minijinja counts what a template does and makes, as fuel. What is left is checked before it is compiled: how deep its
//! expressions and conditions nest when they are chains, for these are walked by recursion.

use minijinja::value::{Value, ValueKind};
use minijinja::{ErrorKind, State};

use super::tags::tags;
use crate::Error;

/// What rendering an ordinary conversation may cost: about one for each instruction, and for each 64 bytes that it makes, which
/// is 4 MB at most.
pub const FUEL: u64 = 60_000;

/// The same for a conversation of so many messages and bytes: enough to make of it sixteen times its text.
pub fn fuel(messages: usize, bytes: usize) -> u64 {
    (FUEL - 10_000 + 2_000 * messages as u64 + bytes as u64 / 4).max(FUEL)
}

/// Most bytes of a template.
const SOURCE: usize = 1 << 20;
/// Most operators in one tag, and most branches of conditions.
const CHAIN: usize = 400;

/// Makes sure that a template can be compiled.
///
/// # Errors
/// [`Error::Template`] for one that is too long or too deep, or that would make minijinja fail.
pub fn check(source: &str) -> Result<(), Error> {
    if source.len() > SOURCE {
        return Err(too_much(1, format!("it has {} bytes, and at most {SOURCE} were expected", source.len())));
    }
    let mut branches = 0;
    for tag in tags(source).filter(|tag| tag.opening != "{#") {
        let line = 1 + source[..tag.start].matches('\n').count();
        let words: Vec<&str> = tag.words().map(|(_, word)| word).collect();
        branches += usize::from(words.iter().find(|word| !matches!(**word, "-" | "+")) == Some(&"elif"));
        if branches > CHAIN {
            return Err(too_much(line, format!("it has more than {CHAIN} elif")));
        }
        if words.iter().filter(|word| is_operator(word)).count() > CHAIN {
            return Err(too_much(line, format!("there are more than {CHAIN} operators in one tag")));
        }
        // With nothing to choose from minijinja divides by nothing; a list of arguments may be empty.
        if words.windows(3).any(|words| words[..2] == ["cycle", "("] && matches!(words[2], ")" | "*")) {
            return Err(too_much(line, "loop.cycle needs something to choose from".into()));
        }
    }
    Ok(())
}

/// Whether a word makes an expression deeper.
fn is_operator(word: &str) -> bool {
    match word {
        "not" | "and" | "or" | "is" | "in" | "if" | "else" => true,
        "," | ":" | ")" | "]" | "}" | "=" => false,
        _ => word.starts_with(|c: char| c.is_ascii_punctuation() && !matches!(c, '"' | '\'' | '_')),
    }
}

/// The name of the filter through which a template puts something into a namespace.
pub const KEPT: &str = "__kept";
/// How deep lists and maps may nest there.
const DEPTH: usize = 50;

/// What a template puts into a namespace, which is all that it can change: within itself, or deeper each time, it would have no end
/// where it is printed or compared.
///
/// # Errors
/// For a namespace, and for lists and maps that nest too deep.
pub fn kept(state: &State, value: Value) -> Result<Value, minijinja::Error> {
    walk(state, &value, DEPTH, false)?;
    Ok(value)
}

/// The name of the filter through which a template gives anything a name.
pub const NAMED: &str = "__named";

/// What a template gives a name: it takes what it costs to write it out, which may hold one part many times.
///
/// # Errors
/// When the fuel is used up, and for lists and maps that nest too deep.
pub fn named(state: &State, value: Value) -> Result<Value, minijinja::Error> {
    walk(state, &value, DEPTH, true)?;
    Ok(value)
}

fn walk(state: &State, value: &Value, depth: usize, namespaces: bool) -> Result<(), minijinja::Error> {
    state.consume_fuel(1 + value.as_str().map_or(0, str::len) as u64 / 64)?;
    let is_map = value.kind() == ValueKind::Map;
    if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        return Ok(());
    }
    let is_namespace = value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace"));
    if is_namespace && !namespaces || depth == 0 {
        let what = "a namespace within a namespace, or lists that nest too deep";
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
    }
    for part in value.try_iter()? {
        walk(state, &part, depth - 1, namespaces)?;
        if is_map {
            walk(state, &value.get_item(&part)?, depth - 1, namespaces)?;
        }
    }
    Ok(())
}

fn too_much(line: usize, what: String) -> Error {
    let help = "no model's own template is like that: take the file from where the model was published";
    Error::Template { what: format!("line {line}: {what}"), help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_bounded() {
        let chain = |link: &str, count: usize| format!("{{{{ {}1 }}}}", link.repeat(count));
        for link in ["-", "not ", "1 + ", "a.", "x | f | "] {
            check(&chain(link, 100)).unwrap();
            let error = check(&format!("\n{}", chain(link, 20_000))).unwrap_err();
            assert!(error.to_string().contains("line 2: there are more than 400 operators"), "{error}");
        }
        let branches = |count| format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}b".repeat(count));
        check(&branches(100)).unwrap();
        assert!(check(&branches(20_000)).unwrap_err().to_string().contains("more than 400 elif"));
        assert!(check(&"a".repeat(2 << 20)).unwrap_err().to_string().contains("2097152 bytes"));
    }

    #[test]
    fn texts_and_comments_are_no_operators() {
        let dashes = "-".repeat(1000);
        for source in [
            format!("{{{{ '{dashes}' }}}}"),
            format!("{{{{ \"\\\"{dashes}}}}}\" }}}}"),
            format!("{{# {dashes} #}}"),
            dashes.clone(),
            format!("{{{{ [{}] }}}}", "'a', ".repeat(1000)),
        ] {
            check(&source).unwrap();
        }
        // What does not end is for the compiler to say.
        for source in ["{{ 'a", "{{ a", "{# a", "{% if", "{{"] {
            check(source).unwrap();
        }
    }

    #[test]
    fn a_cycle_of_nothing_is_refused() {
        for call in ["loop.cycle()", "loop.cycle( )", "loop . cycle(*[])"] {
            let error = check(&format!("{{% for a in b %}}{{{{ {call} }}}}{{% endfor %}}")).unwrap_err();
            assert!(error.to_string().contains("loop.cycle needs"), "{error}");
        }
        check("{{ loop.cycle(1, 2) }} {{ 'cycle()' }}").unwrap();
    }
}
