//! Examples to token ids and targets, with the default model's tokenizer and chat template.

use std::sync::LazyLock;

use tunesmith::data::example::{Example, Message, Prompt};
use tunesmith::data::import::import_jsonl;
use tunesmith::data::render::{Rendered, Renderer};
use tunesmith::format::gguf::Gguf;
use tunesmith::format::source::FileSource;
use tunesmith::text::template::ChatTemplate;
use tunesmith::text::tokenizer::Tokenizer;

struct Model {
    tokenizer: Tokenizer,
    template: ChatTemplate,
}

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let source = FileSource::open(tunesmith_tests::model_file::path()).unwrap();
    let gguf = Gguf::open(Box::new(source)).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let template = ChatTemplate::from_gguf(&gguf, &tokenizer).unwrap();
    Model { tokenizer, template }
});

const SYSTEM: &str =
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n";

fn renderer(template: Option<&ChatTemplate>) -> Renderer<'_> {
    Renderer {
        tokenizer: &MODEL.tokenizer,
        template,
        max_length: 1024,
        completion_only_loss: true,
        assistant_only_loss: true,
    }
}

fn render(example: &Example) -> Rendered {
    renderer(Some(&MODEL.template)).render("data.jsonl", 3, example).unwrap()
}

/// The text with what is learnt in double brackets.
fn marked(rendered: &Rendered) -> String {
    assert_eq!(rendered.ids.len(), rendered.targets.len());
    let pieces = rendered.pieces(&MODEL.tokenizer);
    pieces.iter().map(|p| if p.target { format!("[[{}]]", p.text) } else { p.text.clone() }).collect()
}

fn conversation() -> Vec<Message> {
    [("user", "Hi"), ("assistant", "Hello Hi"), ("user", "Hi"), ("assistant", "Hi\n")]
        .map(|(role, content)| Message::new(role, content))
        .into()
}

fn text(text: &str) -> Prompt {
    Prompt::Text(text.into())
}

#[test]
fn the_replies_of_a_conversation_are_learnt_with_their_end_of_turn() {
    let rendered = render(&Example::Messages { messages: conversation() });
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hello Hi<|im_end|>]]\n\
        <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hi\n<|im_end|>]]\n";
    assert_eq!(marked(&rendered), format!("{SYSTEM}{expected}"));
    assert!(!rendered.truncated);
    // The ids of the whole text: nothing is split differently for the mask's sake.
    let whole = MODEL.template.render(&conversation(), false).unwrap();
    assert_eq!(rendered.ids, MODEL.tokenizer.encode(&whole, true).unwrap());
}

#[test]
fn a_template_that_marks_its_replies_is_believed() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content }}<|im_end|>\n{% endgeneration %}\
        {% else %}{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}";
    let template = ChatTemplate::new(source, "", "<|im_end|>").unwrap();
    let messages = conversation();
    let rendered = renderer(Some(&template)).render("d", 1, &Example::Messages { messages }).unwrap();
    // trim_blocks takes the line's end after `{% endgeneration %}`, not the one before it.
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hello Hi<|im_end|>]]\n\
        <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hi\n<|im_end|>]]\n";
    assert_eq!(marked(&rendered), expected);
}

#[test]
fn a_template_without_a_prompt_is_searched_for_the_replies() {
    let source = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
        {% else %} {{ m.content | trim }} <|im_end|>{% endif %}{% endfor %}";
    let template = ChatTemplate::new(source, "", "<|im_end|>").unwrap();
    let rendered = renderer(Some(&template)).render("d", 1, &Example::Messages { messages: conversation() }).unwrap();
    let expected = "[INST] Hi [/INST][[ Hello Hi <|im_end|>]][INST] Hi [/INST][[ Hi <|im_end|>]]";
    assert_eq!(marked(&rendered), expected);
}

#[test]
fn a_template_that_hides_earlier_replies_is_an_error() {
    let source = "{% for m in messages %}{{ m.role }}: {% if m.role == 'user' or loop.last %}{{ m.content }}\
        {% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    let template = ChatTemplate::new(source, "", "<|im_end|>").unwrap();
    let messages = ["one", "two", "three", "four"].iter().zip(["user", "assistant"].iter().cycle());
    let messages = messages.map(|(content, role)| Message::new(*role, *content)).collect();
    let error = renderer(Some(&template)).render("d.jsonl", 9, &Example::Messages { messages }).unwrap_err();
    assert!(error.to_string().starts_with("d.jsonl, line 9: ") && error.to_string().contains("messages[1]"), "{error}");
}

#[test]
fn prompt_and_completion() {
    let strings = Example::PromptCompletion { prompt: text("2 + 2 = "), completion: text("4") };
    assert_eq!(marked(&render(&strings)), "2 + 2 = [[4<|im_end|>]]");
    // A token across the border is learnt: " four" is one token.
    let across = Example::PromptCompletion { prompt: text("two and two are "), completion: text("four") };
    assert_eq!(marked(&render(&across)), "two and two are[[ four<|im_end|>]]");

    let turns = conversation();
    let messages = Example::PromptCompletion {
        prompt: Prompt::Messages(turns[..3].to_vec()),
        completion: Prompt::Messages(turns[3..].to_vec()),
    };
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello Hi<|im_end|>\n\
        <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Hi\n<|im_end|>]]\n";
    assert_eq!(marked(&render(&messages)), format!("{SYSTEM}{expected}"));

    let everything = Renderer { completion_only_loss: false, ..renderer(None) };
    assert_eq!(marked(&everything.render("d", 1, &strings).unwrap()), "[[2 + 2 = 4<|im_end|>]]");
}

#[test]
fn text_and_tokens() {
    let rendered = render(&Example::Text { text: "Once upon a time".into() });
    assert_eq!(marked(&rendered), "[[Once upon a time<|im_end|>]]");
    assert_eq!(rendered.target_tokens(), rendered.ids.len() - 1);
    let ended = render(&Example::Text { text: "Once<|im_end|>".into() });
    assert_eq!(marked(&ended), "[[Once<|im_end|>]]");

    let rendered = render(&Example::Tokens { input_ids: vec![5, 6, 7], labels: Some(vec![-100, -100, 7]) });
    assert_eq!((rendered.ids, rendered.targets), (vec![5, 6, 7], vec![false, false, true]));
    let rendered = render(&Example::Tokens { input_ids: vec![5, 6, 7], labels: None });
    assert_eq!(rendered.targets, [true; 3]);
}

#[test]
fn everything_is_learnt_where_asked_for() {
    let all = Renderer { assistant_only_loss: false, ..renderer(Some(&MODEL.template)) };
    let rendered = all.render("d", 1, &Example::Messages { messages: conversation() }).unwrap();
    assert!(rendered.targets.iter().all(|target| *target));
}

#[test]
fn long_examples_are_cut() {
    let example = Example::PromptCompletion { prompt: text("1234"), completion: text("5678") };
    let short = |max_length| Renderer { max_length, ..renderer(None) }.render("data.jsonl", 3, &example);
    let rendered = short(6).unwrap();
    assert!(rendered.truncated);
    assert_eq!(marked(&rendered), "1234[[56]]");
    assert!(!short(9).unwrap().truncated);
    let error = short(4).unwrap_err();
    assert_eq!(error.code(), "data");
    assert!(
        error.to_string().starts_with("data.jsonl, line 3: ") && error.to_string().contains("9 tokens of 4"),
        "{error}"
    );
    assert!(error.help().contains("raise max_length to 9"), "{}", error.help());
}

#[test]
fn what_cannot_be_learnt_from_is_an_error_with_its_line() {
    let user = vec![Message::new("user", "Hi")];
    let forged = vec![Message::new("user", "\u{fdd0}"), Message::new("assistant", "x")];
    for (example, template, words) in [
        (Example::Messages { messages: user }, Some(&MODEL.template), "nothing in this example is learnt"),
        (Example::Messages { messages: conversation() }, None, "chat template"),
        (Example::Messages { messages: forged }, Some(&MODEL.template), "U+FDD0"),
        (Example::Text { text: String::new() }, None, "nothing in this example is learnt"),
        (Example::Tokens { input_ids: vec![1, 49152], labels: None }, None, "49152"),
        (Example::Tokens { input_ids: vec![1, 2], labels: Some(vec![1, -100]) }, None, "nothing in this example"),
        (Example::PromptCompletion { prompt: text("a"), completion: Prompt::Messages(vec![]) }, None, "one kind"),
    ] {
        let error = renderer(template).render("data.jsonl", 3, &example).unwrap_err();
        assert!(error.to_string().starts_with("data.jsonl, line 3: "), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.help().is_empty());
    }
}

#[test]
fn a_file_goes_all_the_way() {
    let file = "{\"messages\":[{\"role\":\"user\",\"content\":\"1+1\"},{\"role\":\"assistant\",\"content\":\"2\"}]}\n\
        {\"prompt\":\"a:\",\"completion\":\" b\"}\n";
    let import = import_jsonl("data.jsonl", file);
    assert!(import.errors.is_empty());
    let rendered: Vec<String> = import.examples.iter().map(|(_, example)| marked(&render(example))).collect();
    assert!(rendered[0].ends_with("1+1<|im_end|>\n<|im_start|>assistant\n[[2<|im_end|>]]\n"), "{}", rendered[0]);
    assert_eq!(rendered[1], "a:[[ b<|im_end|>]]");
}
