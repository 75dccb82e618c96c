//! Chat templates: a conversation to the text that the model was taught, by the model's own Jinja.

use std::fmt::Write;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, context};

use super::message::Message;
use super::tokenizer::Tokenizer;
use crate::format::gguf::Gguf;
use crate::{Error, Result};

/// Noncharacters, kept free by Unicode for such a use, around what a `{% generation %}` block gives.
const GENERATION_START: char = '\u{fdd0}';
const GENERATION_END: char = '\u{fdd1}';
/// One that stands for a reply, to see where the template writes it.
pub(super) const REPLY: char = '\u{fdd2}';
const GENERATION_FILTER: &str = "__generation";
const NAME: &str = "chat";

/// ChatML, for a model that has its tokens and no template of its own.
const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] \
    + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A conversation as text, with the parts that the template itself marks as generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Marked {
    /// The text.
    pub text: String,
    /// Byte ranges of `text` from the template's `{% generation %}` blocks, in order.
    pub generated: Vec<Range<usize>>,
}

/// A compiled chat template.
pub struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
    marks_generation: bool,
}

impl ChatTemplate {
    /// Compiles a template. `bos` and `eos` are the texts of these tokens, empty where there are none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self> {
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(failed)?);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", raise_exception);
        env.add_function("strftime_now", strftime_now);
        env.add_filter("tojson", tojson);
        env.add_filter(GENERATION_FILTER, |text: &str| format!("{GENERATION_START}{text}{GENERATION_END}"));
        let (source, marks_generation) = rewrite_generation(source);
        env.add_template_owned(NAME, source).map_err(failed)?;
        Ok(ChatTemplate { env, bos: bos.into(), eos: eos.into(), marks_generation })
    }

    /// The template that a model file carries, or ChatML where it carries none but has ChatML's tokens.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Self> {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let source = match gguf.get::<&str>("tokenizer.chat_template")? {
            Some(source) => source,
            None if tokenizer.id("<|im_start|>").is_some() => CHATML,
            None => {
                return Err(Error::Format {
                    file: gguf.name().into(),
                    what: "the model has no chat template (tokenizer.chat_template)".into(),
                    help: "use an instruct model, or examples in the text or prompt/completion form".into(),
                });
            }
        };
        Self::new(source, &text(tokenizer.bos()), &text(tokenizer.eos()))
    }

    /// The conversation as text; with `add_generation_prompt`, the start of an assistant's turn after it.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        Ok(self.render_marked(messages, add_generation_prompt)?.text)
    }

    /// As [`ChatTemplate::render`], with the ranges that the template marks as generated.
    pub fn render_marked(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Marked> {
        let marker = |text: &str| text.contains([GENERATION_START, GENERATION_END, REPLY]);
        if messages.iter().any(|message| marker(&message.role) || marker(&message.content)) {
            let what = "a message holds U+FDD0, U+FDD1 or U+FDD2, which are no characters".into();
            return Err(Error::Template { what, help: "remove them".into() });
        }
        self.render_unchecked(messages, add_generation_prompt)
    }

    /// As [`ChatTemplate::render_marked`], of messages that may hold marks.
    pub(super) fn render_unchecked(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Marked> {
        let messages: Vec<Value> =
            messages.iter().map(|m| context! { role => m.role.as_str(), content => m.content.as_str() }).collect();
        // Templates ask `tools is not none`, so these are none and not undefined.
        let context = context! {
            messages, add_generation_prompt, tools => Value::from(()), documents => Value::from(()),
            bos_token => self.bos.as_str(), eos_token => self.eos.as_str(),
        };
        let rendered = self.env.get_template(NAME).and_then(|template| template.render(context)).map_err(failed)?;
        Ok(unmark(&rendered))
    }

    /// Whether the template says itself which parts are generated.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }
}

fn failed(error: minijinja::Error) -> Error {
    // An exception that the template raises is its own sentence; the rest says where it happened.
    let detail = error.detail().unwrap_or_default();
    let what = match (error.kind(), error.line()) {
        (ErrorKind::InvalidOperation, _) if detail.starts_with(RAISED) => {
            let help = "check the roles and their order in the example: most templates want system, then user and assistant in turn";
            return Error::Template { what: detail[RAISED.len()..].to_owned(), help: help.into() };
        }
        (kind, Some(line)) => format!("line {line}: {kind}: {detail}"),
        (kind, None) => format!("{kind}: {detail}"),
    };
    let help = "the model's template cannot be used for this example: check its messages, or give prompt and completion as texts";
    Error::Template { what, help: help.into() }
}

const RAISED: &str = "raised: ";

fn raise_exception(message: &str) -> std::result::Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

/// The time now, in UTC, in strftime's notation.
fn strftime_now(format: &str) -> std::result::Result<String, minijinja::Error> {
    let mut text = String::new();
    let wrong = || format!("strftime_now: {format:?} is not a date format");
    write!(text, "{}", chrono::Utc::now().format(format))
        .map_err(|_| minijinja::Error::new(ErrorKind::InvalidOperation, wrong()))?;
    Ok(text)
}

/// JSON as Python's `json.dumps(ensure_ascii=False)` writes it: minijinja's, without its escapes for HTML.
fn tojson(value: &Value, indent: Option<Value>, args: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let escaped = minijinja::filters::tojson(value, indent, args)?.to_string();
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped.as_str();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let html = [("\\u003c", '<'), ("\\u003e", '>'), ("\\u0026", '&'), ("\\u0027", '\'')];
        match html.iter().find(|(escape, _)| rest[at..].starts_with(escape)) {
            Some((escape, plain)) => {
                text.push(*plain);
                rest = &rest[at + escape.len()..];
            }
            None => {
                // A backslash and the ASCII character that it escapes.
                text.push_str(&rest[at..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    text.push_str(rest);
    Ok(Value::from_safe_string(text))
}

/// Turns Hugging Face's `{% generation %}` blocks, which minijinja does not know, into filter blocks:
/// these are tags too, so that what trims the space around them stays as it is.
fn rewrite_generation(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let inner = &rest[open + 2..];
        let Some(close) = inner.find("%}") else { break };
        let tag = &inner[..close];
        let word = tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        out.push_str(&rest[..open + 2]);
        let replacement = match word {
            "generation" => Some(format!("filter {GENERATION_FILTER}")),
            "endgeneration" => Some("endfilter".into()),
            _ => None,
        };
        match replacement {
            Some(replacement) => {
                found = true;
                out.push_str(&tag.replacen(word, &replacement, 1));
                out.push_str("%}");
                rest = &inner[close + 2..];
            }
            None => rest = inner,
        }
    }
    out.push_str(rest);
    (out, found)
}

/// Takes the marks out of a rendered text, and notes where they were.
fn unmark(marked: &str) -> Marked {
    let mut text = String::with_capacity(marked.len());
    let mut generated = Vec::new();
    let mut start = 0;
    for c in marked.chars() {
        match c {
            GENERATION_START => start = text.len(),
            GENERATION_END => generated.push(start..text.len()),
            c => text.push(c),
        }
    }
    Marked { text, generated }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat() -> Vec<Message> {
        vec![Message::new("user", "Hi"), Message::new("assistant", "Hello"), Message::new("user", "Bye")]
    }

    fn render(source: &str) -> Result<String> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(&chat(), true)
    }

    #[test]
    fn chatml() {
        let text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye\
            <|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(render(CHATML).unwrap(), text);
    }

    #[test]
    fn python_and_jinja_as_templates_use_them() {
        let cases = [
            ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
            ("{% if tools is not none %}tools{% endif %}{% if x is defined %}x{% endif %}-", "-"),
            ("{{ messages[0].content.strip().upper() }} {{ 'a b'.split(' ')[-1] }}", "HI b"),
            ("{{ messages[0]['role'].startswith('us') }} {{ messages[-1]['content'] }}", "True Bye"),
            (
                "{% for m in messages[1:] %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                "assistant",
            ),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            ("  {% if true %}\nx\n  {% endif %}\ny\n", "x\ny"),
            ("{{ {'b': [1, 'é<>&\\''], 'a': none} | tojson }}", r#"{"b": [1, "é<>&'"], "a": null}"#),
            (r"{{ '\\u003c<\n' | tojson }}", r#""\\u003c<\n""#),
            ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
            ("{{ strftime_now('%Y') | int > 2000 }}", "True"),
            ("{%- for m in messages -%} {{ m.role[0] }} {%- endfor %}", "uau"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn failures_say_what_the_template_says() {
        let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
        assert_eq!(error.to_string(), "chat template: roles must alternate");
        for source in ["{% if %}", "{{ messages | nosuch }}", "\n{{ messages[9].role }}", "{{ strftime_now('%Q%') }}"] {
            let error = render(source).unwrap_err();
            assert_eq!(error.code(), "template", "{source}");
            assert!(error.to_string().contains("line "), "{source}: {error}");
        }
    }

    #[test]
    fn generation_blocks_are_marked() {
        let source = "{% for m in messages %}\n<{{ m.role }}>\n{% if m.role == 'assistant' %}\n\
            {%- generation -%}\n{{ m.content }}!\n{% endgeneration %}\n{% else %}\n{{ m.content }}\n{% endif %}\n{% endfor %}\n";
        let template = ChatTemplate::new(source, "", "").unwrap();
        assert!(template.marks_generation());
        let marked = template.render_marked(&chat(), false).unwrap();
        assert_eq!(marked.text, "<user>\nHi\n<assistant>\nHello!\n<user>\nBye\n");
        let generated: Vec<&str> = marked.generated.iter().map(|range| &marked.text[range.clone()]).collect();
        assert_eq!(generated, ["Hello!\n"]);
        assert!(!ChatTemplate::new(CHATML, "", "").unwrap().marks_generation());

        let forged = [Message::new("user", "\u{fdd0}")];
        assert_eq!(template.render(&forged, false).unwrap_err().code(), "template");
    }
}
