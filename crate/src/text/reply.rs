//! Where a chat template writes a reply: found by having it write a mark in the reply's place.

use std::ops::Range;

use super::Message;
use super::template::{ChatTemplate, REPLY};
use crate::{Error, Result};

impl ChatTemplate {
    /// Where the assistant's turn number `turn` stands in `whole`, which is what the template makes of all messages: from
    /// where the model writes on to the end of the turn, the end-of-turn token included.
    ///
    /// With a mark in the reply's place the template writes the same text around it, and what stands between the two ends
    /// of that text in `whole` is what it makes of the reply, however it trims it or what it leaves out. The model writes on
    /// behind the prompt for the reply, if the template prompts: what it writes there by itself is learnt, too.
    ///
    /// # Errors
    /// [`Error::Template`] when the template does not write the reply, writes it twice, or writes other turns differently
    /// for its sake; and when there is nothing to learn.
    pub fn reply(&self, messages: &[Message], turn: usize, whole: &str, end_tokens: &[String]) -> Result<Range<usize>> {
        let lost = || {
            let what = match messages[turn].content.trim().is_empty() {
                true => format!("the reply in messages[{turn}] is empty, and there is no place for it"),
                false => {
                    format!("the reply in messages[{turn}] cannot be found again in what the template makes of it")
                }
            };
            Error::Template { what, help: "leave this turn out, or give prompt and completion as texts".into() }
        };
        let mut marked = messages.to_vec();
        marked[turn].content = REPLY.to_string();
        let marked = self.render_unchecked(&marked, false)?.text;
        let (before, behind) =
            marked.split_once(REPLY).filter(|(_, behind)| !behind.contains(REPLY)).ok_or_else(lost)?;
        let end = whole.strip_suffix(behind).ok_or_else(lost)?.len();

        // Many templates cannot do without a message, or refuse to end with this one.
        let rendered = |turns: usize, prompt| self.render(&messages[..turns], prompt).ok().filter(|_| turns > 0);
        let prompt = rendered(turn, true).filter(|prompt| {
            let reached = |text: &str| text.starts_with(prompt.as_str());
            let prompts = || rendered(turn, false).as_ref() != Some(prompt);
            reached(before) && reached(whole) && (before[prompt.len()..].trim().is_empty() || prompts())
        });
        let start = match prompt {
            Some(prompt) => prompt.len(),
            None => whole.strip_prefix(before).map(|_| before.len()).ok_or_else(lost)?,
        };
        if start > end {
            return Err(lost());
        }

        // An end-of-turn token; or, of a template that prompts, what it adds with this turn and leaves as it is later.
        let rest = whole[end..].trim_start();
        let past = match end_tokens.iter().find(|token| rest.starts_with(token.as_str())) {
            Some(token) => whole.len() - rest.len() + token.len(),
            None => {
                let prompts = |until: &String| rendered(turn + 1, true).as_ref() != Some(until);
                let until = rendered(turn + 1, false).filter(prompts).filter(|until| whole.starts_with(until.as_str()));
                let added = until.and_then(|until| whole.get(end..until.len()));
                end + added.map_or(0, |added| added.trim_end().len())
            }
        };
        if start == past {
            let what =
                format!("the reply in messages[{turn}] is empty, and the template ends it with nothing to learn");
            return Err(Error::Template { what, help: "leave this turn out".into() });
        }
        Ok(start..past)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_TOKENS: [&str; 4] = ["<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>"];

    /// A template, and what is to become of a turn: what stands before the reply, whether it is trimmed, the end of the turn,
    /// and what follows.
    struct Case {
        name: &'static str,
        source: &'static str,
        first: &'static str,
        user: [&'static str; 2],
        open: &'static str,
        trims: bool,
        end: &'static str,
        gap: &'static str,
    }

    const CASES: [Case; 12] = [
        Case {
            name: "ChatML",
            source: "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            first: "",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "with a default system prompt",
            source: "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
                {{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}\
                {{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            first: "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "reads messages[0]",
            source: "{% if messages[0].content.startswith('/') or messages[0]['role'] == 'system' %}system{% endif %}\
                {%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            first: "",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "Llama 3",
            source: "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' \
                + m.content | trim + '<|eot_id|>' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
            first: "<s>",
            user: ["<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"],
            open: "<|start_header_id|>assistant<|end_header_id|>\n\n",
            trims: true,
            end: "<|eot_id|>",
            gap: "",
        },
        Case {
            name: "Mistral: the space behind [/INST] is written by the model",
            source: "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}\
                {% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
            first: "<s>",
            user: ["[INST] ", " [/INST]"],
            open: "",
            trims: false,
            end: "</s>",
            gap: "",
        },
        Case {
            name: "Gemma: the assistant is called model",
            source: "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}\
                {{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
            first: "<s>",
            user: ["<start_of_turn>user\n", "<end_of_turn>\n"],
            open: "<start_of_turn>model\n",
            trims: true,
            end: "<end_of_turn>",
            gap: "\n",
        },
        Case {
            name: "earlier turns without their reasoning",
            source: "{% for m in messages %}{% set words = m.content.split('</think>')[-1] if not loop.last else m.content %}\
                {{ '<|im_start|>' + m.role + '\n' + words + '<|im_end|>\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
            first: "",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "no generation prompt",
            source: "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}",
            first: "",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "a generation prompt at the end of everything",
            source: "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}\
                {{ '<|im_start|>assistant\n' }}",
            first: "",
            user: ["<|im_start|>user\n", "<|im_end|>\n"],
            open: "<|im_start|>assistant\n",
            trims: false,
            end: "<|im_end|>",
            gap: "\n",
        },
        Case {
            name: "an end of turn that is no token of its own",
            source: "{% for m in messages %}{{ m.role + ': ' + m.content + ' ###\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
            first: "",
            user: ["user: ", " ###\n"],
            open: "assistant: ",
            trims: false,
            end: " ###",
            gap: "\n",
        },
        Case {
            name: "letters for roles, and nothing that ends a turn",
            source: "{% for m in messages %}{{ m.role[0] | upper + ': ' + m.content + '\n' }}{% endfor %}",
            first: "",
            user: ["U: ", "\n"],
            open: "A: ",
            trims: false,
            end: "",
            gap: "\n",
        },
        Case {
            name: "a prompt that is shorter than what comes before the reply",
            source: "{% for m in messages %}{% if m.role == 'user' %}{{ 'Q: ' + m.content + '</s>\n' }}\
                {% else %}{{ 'A: <think></think>' + m.content + '</s>\n' }}{% endif %}{% endfor %}\
                {% if add_generation_prompt %}{{ 'A: ' }}{% endif %}",
            first: "",
            user: ["Q: ", "</s>\n"],
            open: "A: ",
            trims: false,
            end: "</s>",
            gap: "\n",
        },
    ];

    const REPLIES: [&str; 10] =
        ["a", "st", "B", "user", "assistant", "Hi", "two\n\nlines\n", "  spaced  ", "<think></think>x", "user\nHi"];

    /// The text with what is learnt in double brackets.
    fn marked(source: &str, messages: &[Message]) -> Result<String> {
        let template = ChatTemplate::new(source, "<s>", "</s>")?;
        let whole = template.render(messages, false)?;
        let end_tokens = END_TOKENS.map(String::from);
        let (mut text, mut at) = (String::new(), 0);
        for turn in (0..messages.len()).filter(|turn| messages[*turn].role == "assistant") {
            let reply = template.reply(messages, turn, &whole, &end_tokens)?;
            assert!(reply.start >= at, "turns come one after another");
            text += &format!("{}[[{}]]", &whole[at..reply.start], &whole[reply.clone()]);
            at = reply.end;
        }
        Ok(text + &whole[at..])
    }

    #[test]
    fn every_template_and_every_reply() {
        let turn = Message::new;
        for case in &CASES {
            for reply in REPLIES {
                let conversations = [
                    vec![turn("user", "Hi"), turn("assistant", reply)],
                    vec![turn("user", "Hi"), turn("assistant", reply), turn("user", "B"), turn("assistant", reply)],
                    vec![turn("user", reply), turn("assistant", "Hi"), turn("user", "Hi"), turn("assistant", reply)],
                    vec![turn("user", "Hi"), turn("assistant", reply), turn("user", "a")],
                ];
                for messages in conversations {
                    let words = |content: &str| if case.trims { content.trim() } else { content }.to_owned();
                    let last = messages.len() - 1;
                    let mut expected = case.first.to_owned();
                    for (index, Message { role, content }) in messages.iter().enumerate() {
                        let earlier = case.name.contains("reasoning") && index < last;
                        let content = words(if earlier { content.split("</think>").last().unwrap() } else { content });
                        expected += &match (role.as_str(), case.open) {
                            ("user", _) => format!("{}{content}{}", case.user[0], case.user[1]),
                            (_, "") => format!("[[ {content}{}]]{}", case.end, case.gap),
                            (_, "A: ") if case.name.contains("shorter") => {
                                format!("A: [[<think></think>{content}{}]]{}", case.end, case.gap)
                            }
                            (_, open) => format!("{open}[[{content}{}]]{}", case.end, case.gap),
                        };
                    }
                    if case.name.contains("at the end of everything") {
                        expected += "<|im_start|>assistant\n";
                    }
                    assert_eq!(marked(case.source, &messages).unwrap(), expected, "{}: {reply:?}", case.name);
                }
            }
        }
    }

    #[test]
    fn the_assistant_may_speak_first() {
        for case in &CASES[..3] {
            for reply in REPLIES {
                let turns =
                    [Message::new("assistant", reply), Message::new("user", "Hi"), Message::new("assistant", "B")];
                let expected = format!(
                    "{}<|im_start|>assistant\n[[{reply}<|im_end|>]]\n<|im_start|>user\nHi<|im_end|>\n\
                        <|im_start|>assistant\n[[B<|im_end|>]]\n",
                    case.first
                );
                assert_eq!(marked(case.source, &turns).unwrap(), expected, "{}: {reply:?}", case.name);
            }
        }
    }

    #[test]
    fn reasoning_in_the_last_turn_alone() {
        // What a template makes of the reply may differ by what is in it: the prompt says where it begins.
        let source = "{% for m in messages %}{% set parts = m.content.split('</think>') %}{{ '<|im_start|>' + m.role + '\n' }}\
            {%- if loop.last and m.role == 'assistant' %}\
            {{- '<think>\n' + (parts[0].split('<think>')[-1] if parts | length > 1 else '') + '\n</think>\n\n' }}{% endif %}\
            {{- parts[-1] + '<|im_end|>\n' }}{% endfor %}\
            {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let turn = Message::new;
        let reply = "<think>why</think>because";
        let messages = [turn("user", "Hi"), turn("assistant", reply), turn("user", "B"), turn("assistant", reply)];
        assert_eq!(
            marked(source, &messages).unwrap(),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[because<|im_end|>]]\n<|im_start|>user\nB<|im_end|>\n\
                <|im_start|>assistant\n[[<think>\nwhy\n</think>\n\nbecause<|im_end|>]]\n"
        );
    }

    #[test]
    fn an_empty_reply_is_its_end() {
        let turns = [Message::new("user", "Hi"), Message::new("assistant", ""), Message::new("user", "B")];
        assert!(marked(CASES[0].source, &turns).unwrap().contains("assistant\n[[<|im_end|>]]\n"));
        for (source, words) in [
            // Nothing ends it, or it is left out.
            (CASES[10].source, "messages[1] is empty, and the template ends it with nothing"),
            (
                "{% for m in messages if m.content %}{{ m.role + m.content }}{% endfor %}",
                "messages[1] is empty, and there is no",
            ),
        ] {
            let error = marked(source, &turns).unwrap_err();
            assert!(error.to_string().contains(words) && error.code() == "template", "{error}");
        }
    }

    #[test]
    fn no_place_is_guessed() {
        let turns = [Message::new("user", "Hi"), Message::new("assistant", "yes"), Message::new("user", "B")];
        for source in [
            "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
            "{{ messages[1].content }}{% for m in messages %}{{ m.role + m.content }}{% endfor %}",
            "{% for m in messages %}{{ m.role + m.content }}{% endfor %}{{ messages[1].content | length }}",
            "{{ messages[1].content | length }}{% for m in messages %}{{ m.role + m.content }}{% endfor %}",
        ] {
            let error = marked(source, &turns).unwrap_err();
            assert!(error.to_string().contains("messages[1] cannot be found again"), "{error}");
            assert!(!error.help().contains("roles"), "{}", error.help());
        }
    }
}
