//! What a Rust source names of its own crate: the paths that begin with `crate`, `super`, `self` or a module of its own.

/// A path that a source names, from the crate's root on.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    pub line: usize,
    pub path: Vec<String>,
    /// Whether it is in a `pub use`.
    pub reexport: bool,
}

/// A source as far as its paths go.
pub struct Source {
    /// The file, from the folder of the crate's root file on.
    pub file: String,
    /// The module that it is: none for the crate's root file.
    pub module: Vec<String>,
    pub imports: Vec<Import>,
    /// Whether it only declares modules and re-exports what they have.
    pub only_declares: bool,
}

impl Source {
    /// Reads a file of a crate, by its path in the crate's folder.
    pub fn read(file: &str, text: &str) -> Self {
        let module = module(file);
        let tokens = tokens(&code(text));
        let imports = Reader { tokens: &tokens, at: 0, module: &module, children: children(&tokens) }.imports();
        Source { file: file.into(), only_declares: only_declares(&tokens), module, imports }
    }
}

/// The module that a file is: `gpu/mod.rs` is `gpu`, and `main.rs` the root.
fn module(file: &str) -> Vec<String> {
    let mut module: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The text without comments, and without what stands in quotes.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut code = String::new();
    let mut i = 0;
    while i < chars.len() {
        let from = i;
        let hashes = chars[i..].iter().skip(1).take_while(|c| **c == '#').count();
        i = match chars[i] {
            '/' if at(i + 1) == '/' => end(&chars, i, &['\n']),
            '/' if at(i + 1) == '*' => end(&chars, i + 2, &['*', '/']) + 2,
            'r' if at(i + 1 + hashes) == '"' && !code.ends_with(is_part_of_name) => {
                let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                end(&chars, i + 2 + hashes, &close) + close.len()
            }
            '"' => quoted(&chars, i),
            // A lifetime has no second quote.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => quoted(&chars, i),
            other => {
                code.push(other);
                i += 1;
                continue;
            }
        };
        // Lines keep their numbers.
        let lines = chars[from..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
        code.push_str(&"\n".repeat(lines));
        code.push(' ');
    }
    code
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `close` stands next, or the end.
fn end(chars: &[char], from: usize, close: &[char]) -> usize {
    (from..chars.len()).find(|&i| chars[i..].starts_with(close)).unwrap_or(chars.len())
}

/// The place behind a literal in quotes, in which a backslash takes the next sign along.
fn quoted(chars: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < chars.len() && chars[i] != chars[from] {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// A name, `::` or a sign, with its line.
type Token = (String, usize);

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut joins = false;
    let mut line = 1;
    for c in code.chars() {
        match tokens.last_mut() {
            Some((last, _)) if joins && is_part_of_name(c) && last.ends_with(is_part_of_name) => last.push(c),
            Some((last, _)) if joins && c == ':' && last == ":" => last.push(c),
            _ if !c.is_whitespace() => tokens.push((c.into(), line)),
            _ => {}
        }
        joins = !c.is_whitespace();
        line += usize::from(c == '\n');
    }
    tokens
}

/// The modules that are declared to lie in files of their own.
fn children(tokens: &[Token]) -> Vec<&str> {
    let declared = tokens.windows(3).filter(|window| window[0].0 == "mod" && window[2].0 == ";");
    declared.map(|window| window[1].0.as_str()).collect()
}

fn only_declares(tokens: &[Token]) -> bool {
    let mut statements = tokens.split(|(token, _)| token == ";");
    let last_is_empty = statements.next_back().is_none_or(<[Token]>::is_empty);
    let declares = |statement: &[Token]| {
        let words: Vec<&str> = without_attributes(statement).iter().map(|(token, _)| token.as_str()).collect();
        match words.as_slice() {
            ["pub", "(", _, ")", rest @ ..] | ["pub", rest @ ..] => matches!(rest, ["use", ..] | ["mod", _]),
            words => matches!(words, ["mod", _]),
        }
    };
    last_is_empty && statements.all(declares)
}

fn without_attributes(mut statement: &[Token]) -> &[Token] {
    while statement.first().is_some_and(|(token, _)| token == "#") {
        let close = statement.iter().position(|(token, _)| token == "]").unwrap_or(statement.len() - 1);
        statement = &statement[close + 1..];
    }
    statement
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    module: &'a [String],
    children: Vec<&'a str>,
}

impl Reader<'_> {
    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |(token, _)| token)
    }

    fn imports(mut self) -> Vec<Import> {
        let mut imports = Vec::new();
        // Modules within the file that are open here, each with the depth of what is in it.
        let mut inline: Vec<(&str, usize)> = Vec::new();
        let (mut depth, mut reexport) = (0, false);
        while self.at < self.tokens.len() {
            let before = if self.at > 0 { self.token(self.at - 1) } else { "" };
            match self.tokens[self.at].0.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    inline.retain(|(_, within)| *within <= depth);
                }
                "mod" if self.token(self.at + 2) == "{" => {
                    inline.push((&self.tokens[self.at + 1].0, depth + 1));
                }
                "use" => reexport = [")", "pub"].contains(&before),
                ";" => reexport = false,
                first if before != "::" && self.token(self.at + 1) == "::" => {
                    let mut here: Vec<String> = self.module.to_vec();
                    here.extend(inline.iter().map(|(name, _)| (*name).to_owned()));
                    let from = match first {
                        "crate" => Some(Vec::new()),
                        "self" => Some(here),
                        "super" => {
                            while self.token(self.at) == "super" {
                                here.pop();
                                self.at += 2;
                            }
                            // The last of them, with its `::`, is what the path goes on from.
                            self.at -= 2;
                            Some(here)
                        }
                        child if inline.is_empty() && self.children.contains(&child) => {
                            here.push(child.to_owned());
                            Some(here)
                        }
                        _ => None,
                    };
                    if let Some(from) = from {
                        self.at += 2;
                        let first = imports.len();
                        self.tree(&from, &mut imports);
                        imports[first..].iter_mut().for_each(|import| import.reexport = reexport);
                        continue;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        imports
    }

    /// Reads what follows a `::`: a name, perhaps with more behind it, or several in braces.
    fn tree(&mut self, from: &[String], imports: &mut Vec<Import>) {
        if self.token(self.at) != "{" {
            let (name, line) = self.tokens.get(self.at).cloned().unwrap_or_default();
            let path: Vec<String> = from.iter().cloned().chain([name]).collect();
            self.at += 1;
            let goes_on = |next: &str| next == "{" || next == "*" || next.starts_with(is_part_of_name);
            if self.token(self.at) == "::" && goes_on(self.token(self.at + 1)) {
                self.at += 1;
                self.tree(&path, imports);
            } else {
                imports.push(Import { line, path, reexport: false });
            }
            return;
        }
        self.at += 1;
        while self.at < self.tokens.len() && self.token(self.at) != "}" {
            self.tree(from, imports);
            // Another name for it, and the comma.
            while ![",", "}", ""].contains(&self.token(self.at)) {
                self.at += 1;
            }
            if self.token(self.at) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(file: &str, text: &str) -> Vec<(usize, String)> {
        let source = Source::read(file, text);
        source.imports.iter().map(|import| (import.line, import.path.join("::"))).collect()
    }

    #[test]
    fn paths_are_read_from_the_root_on() {
        let text = "use crate::{Error, gpu::{Buffer, plan::*}};\nuse super::weight::Weight;\nuse std::fmt;\n\
                    fn f() { super::super::clock::now_ms(); Vec::<u8>::new(); crate::ops::Heads { a: 1 }; }\n";
        let expected = [
            (1, "Error"),
            (1, "gpu::Buffer"),
            (1, "gpu::plan::*"),
            (2, "ops::weight::Weight"),
            (4, "clock::now_ms"),
            (4, "ops::Heads"),
        ];
        assert_eq!(paths("ops/linear.rs", text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn what_is_no_code_is_left_out() {
        let text = "/* crate::a */ // crate::b\nlet x = (\"crate::c \\\" {\", r#\"crate::\"d\"#, '{', '\\'');\n\
                    fn f<'a>(x: &'a str) -> crate::e::F {}\n";
        assert_eq!(paths("x.rs", text), [(3, "e::F".to_owned())]);
    }

    #[test]
    fn a_module_in_a_file_has_the_file_above_it() {
        let text = "mod tests {\n    use super::inner;\n    mod deep { use super::super::x::Y; }\n}\nuse super::z;\n";
        let expected = [(2, "gpu::arena::inner"), (3, "gpu::arena::x::Y"), (5, "gpu::z")];
        assert_eq!(paths("gpu/arena.rs", text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn a_root_names_its_own_modules() {
        let text = "mod peak;\npub use peak::Peak;\nfn f() { peak::measure(); other::g(); }\n";
        let expected = [(2, "bench::peak::Peak"), (3, "bench::peak::measure")];
        assert_eq!(paths("bench/mod.rs", text), expected.map(|(line, path)| (line, path.to_owned())));
        assert!(Source::read("bench/mod.rs", text).imports[0].reexport);
    }

    #[test]
    fn some_roots_only_declare() {
        let only = |text: &str| Source::read("a/mod.rs", text).only_declares;
        assert!(only("//! A room.\n\nmod a;\n#[cfg(x)]\npub mod b;\npub(crate) use a::{C, d};\npub use b::E;\n"));
        assert!(!only("mod a;\nuse a::B;\n"));
        assert!(!only("mod a;\npub use a::B;\nfn f() {}\n"));
    }
}
