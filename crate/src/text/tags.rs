//! The tags of a Jinja template, as they stand in its source.

/// What is between `{{` and `}}`, `{%` and `%}`, or `{#` and `#}`.
pub struct Tag<'a> {
    /// Its opening: `{{`, `{%` or `{#`.
    pub opening: &'a str,
    /// What is in it.
    pub inner: &'a str,
    /// Where that starts in the source.
    pub start: usize,
}

impl<'a> Tag<'a> {
    /// The words, numbers, texts and signs in it, with where each starts. A sign is one character.
    pub fn words(&self) -> Words<'a> {
        Words { text: self.inner, at: 0 }
    }
}

/// The tags of a source, in order; one that does not end is left out.
pub fn tags(source: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &source[at..];
        let open = ["{{", "{%", "{#"].iter().filter_map(|opening| rest.find(opening)).min()?;
        let (opening, start) = (&rest[open..open + 2], at + open + 2);
        let end = match opening {
            "{#" => source[start..].find("#}")?,
            // An end within a text is none.
            _ => {
                let end = if opening == "{{" { "}}" } else { "%}" };
                let mut words = Words { text: &source[start..], at: 0 };
                loop {
                    words.skip_space();
                    if words.text[words.at..].starts_with(end) {
                        break words.at;
                    }
                    words.next()?;
                }
            }
        };
        at = start + end + 2;
        Some(Tag { opening, inner: &source[start..start + end], start })
    })
}

/// The words of a tag.
pub struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl Words<'_> {
    fn skip_space(&mut self) {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let len = match rest.chars().next()? {
            quote @ ('"' | '\'') => text_len(rest, quote),
            c if is_letter(c) => rest.find(|c| !is_letter(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let start = self.at;
        self.at += len;
        Some((start, &rest[..len]))
    }
}

/// Bytes of a text in quotes, with them.
fn text_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_their_words() {
        let source = "a {{ b.c['}}'] }} {# {{ #} {%- set x = \"%}\\\"\" -%} {{ no end";
        let found: Vec<_> = tags(source).map(|tag| (tag.opening, tag.inner)).collect();
        assert_eq!(found, [("{{", " b.c['}}'] "), ("{#", " {{ "), ("{%", "- set x = \"%}\\\"\" -")]);
        let words: Vec<_> = tags(source).next().unwrap().words().map(|(_, word)| word).collect();
        assert_eq!(words, ["b", ".", "c", "[", "'}}'", "]"]);
        let starts: Vec<_> = tags(source).map(|tag| &source[tag.start..tag.start + 2]).collect();
        assert_eq!(starts, [" b", " {", "- "]);
        assert_eq!(tags("{{ 'a").count() + tags("{%").count() + tags("{# a").count() + tags("{ é }").count(), 0);
    }
}
