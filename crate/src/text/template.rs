//! Chat templates: a conversation to the text that the model was taught, by the model's own Jinja.

use std::fmt::Write;
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, State, context};

use super::bounds;
use super::message::Message;
use super::tags::tags;
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
        bounds::check(source)?;
        let mut env = Environment::new();
        env.set_fuel(Some(bounds::FUEL));
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(failed)?);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", raise_exception);
        env.add_function("strftime_now", strftime_now);
        env.add_filter("tojson", tojson);
        env.add_filter(bounds::KEPT, bounds::kept);
        env.add_filter(bounds::NAMED, bounds::named);
        env.add_filter(GENERATION_FILTER, |text: &str| format!("{GENERATION_START}{text}{GENERATION_END}"));
        let (source, marks_generation) = rewritten(source);
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
        let bytes = messages.iter().map(|message| message.role.len() + message.content.len()).sum();
        let fuel = bounds::fuel(messages.len(), bytes);
        let messages: Vec<Value> =
            messages.iter().map(|m| context! { role => m.role.as_str(), content => m.content.as_str() }).collect();
        // Templates ask `tools is not none`, so these are none and not undefined.
        let context = context! {
            messages, add_generation_prompt, tools => Value::from(()), documents => Value::from(()),
            bos_token => self.bos.as_str(), eos_token => self.eos.as_str(),
        };
        let render = |env: &Environment| env.get_template(NAME).and_then(|template| template.render(context));
        let rendered = if fuel > bounds::FUEL {
            let mut env = self.env.clone();
            env.set_fuel(Some(fuel));
            render(&env)
        } else {
            render(&self.env)
        };
        Ok(unmark(&rendered.map_err(failed)?))
    }

    /// Whether the template says itself which parts are generated.
    pub fn marks_generation(&self) -> bool {
        self.marks_generation
    }
}

fn failed(error: minijinja::Error) -> Error {
    if error.kind() == ErrorKind::OutOfFuel {
        let help =
            "no model's own template does so much for an example: take the file from where the model was published";
        return Error::Template { what: "it goes on without end, or makes too much text".into(), help: help.into() };
    }
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
fn tojson(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    args: Kwargs,
) -> std::result::Result<Value, minijinja::Error> {
    bounds::named(state, value.clone())?;
    let wide = indent.clone().or(args.peek("indent").ok()).and_then(|indent| i64::try_from(indent).ok());
    if wide.is_some_and(|wide| wide > 40) {
        let what = "tojson: an indent of more than 40";
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, what));
    }
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

/// The template as minijinja takes it, and whether it marks what is generated.
///
/// Hugging Face's `{% generation %}` blocks, which minijinja does not know, become filter blocks: these are tags too, so that what
/// trims the space around them stays as it is. What is given a name goes through
/// [`bounds::named`], and what is put into a namespace through [`bounds::kept`].
fn rewritten(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let (mut marks, mut done) = (false, 0);
    for tag in tags(source).filter(|tag| tag.opening == "{%") {
        let left = tag.inner.trim_start_matches(['-', '+']);
        let body = left.trim_end_matches(['-', '+']);
        let replacement = match body.trim() {
            "generation" => Some(format!("filter {GENERATION_FILTER}")),
            "endgeneration" => Some("endfilter".into()),
            // What has a filter before it names all up to the end of a block, which is a text.
            set if set.starts_with("set ") => {
                set.split_once('=').filter(|(place, _)| !place.contains('|')).map(|(place, value)| {
                    let filter = if place.contains('.') { bounds::KEPT } else { bounds::NAMED };
                    format!("{place}= ({value}) | {filter}")
                })
            }
            _ => None,
        };
        let Some(replacement) = replacement else { continue };
        marks |= body.trim() == "generation";
        let start = tag.start + tag.inner.len() - left.len();
        out.push_str(&source[done..start]);
        out.push_str(&format!(" {replacement} "));
        done = start + body.len();
    }
    out.push_str(&source[done..]);
    (out, marks)
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
    fn long_conversations_are_rendered() {
        let template = ChatTemplate::new(CHATML, "", "").unwrap();
        let turn = |content: String| Message { role: "user".into(), content };
        let many: Vec<Message> = (0..5000).map(|i| turn(format!("turn {i}"))).collect();
        assert_eq!(template.render(&many, true).unwrap().matches("<|im_end|>").count(), 5000);
        let long = [turn("a word ".repeat(1 << 20))];
        assert!(template.render(&long, true).unwrap().len() > 7 << 20);
    }

    #[test]
    fn no_template_goes_on_without_end() {
        let kept = "{% set ns = namespace(a=1) %}{%- set ns.a = [1, 2] if 1 == 1 else 3 -%}{{ ns.a[1] }}{% set ns.b = {'c': 'd'} %}{{ ns.b.c }}";
        assert_eq!(render(kept).unwrap(), "2d");
        let within = "a namespace within a namespace";
        let endless = "it goes on without end";
        let doubled = (0..40).fold("{% set a0 = [1] %}".to_owned(), |source, i| {
            format!("{source}{{% set a{} = [a{i}, a{i}] %}}", i + 1)
        });
        let doubled = |tag: &str| format!("{doubled}{{% set n = namespace() %}}{tag}");
        for tag in [
            "{{ a40 | tojson }}",
            "{{ a40 }}",
            "{{ a40 | string }}",
            "{{ a40 == [a39, a39] }}",
            "{% set n.a = a40 %}",
            "{{ a40 | pprint }}",
        ] {
            let error = render(&doubled(tag)).unwrap_err();
            assert!(error.to_string().contains(endless), "{tag}: {error}");
        }
        for (source, words) in [
            ("{% set n = namespace() %}{% set n.a = n %}{{ n }}", within),
            ("{% set n = namespace() %}{% set o = namespace(a=[n]) %}{% set n.a = {'b': o} %}{{ n }}", within),
            (
                "{% set n = namespace(a=[]) %}{% for i in range(10000) %}{% set n.a = [n.a] %}{% endfor %}{{ n.a }}",
                within,
            ),
            ("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", endless),
            ("{{ [1] | batch(1000000000, 0) }}", endless),
            ("{{ [1] | slice(1000000000, 0) }}", endless),
            ("{{ 'a' | indent(1000000000, true) }}", endless),
            ("{{ [1] | tojson(indent=1000000000) }}", "indent of more than 40"),
            ("{{ 'a' * 1000000000 }}", endless),
            (
                "{% set n = namespace(a='aaaaaaaa') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
                endless,
            ),
            ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion limit"),
            ("{% for i in range(3) %}{{ loop.cycle() }}{% endfor %}", "loop.cycle needs something"),
        ] {
            let error = render(source).unwrap_err();
            assert!(error.to_string().contains(words), "{source}: {error}");
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
