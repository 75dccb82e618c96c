//! The tokenizer against Hugging Face's, and its own promises.

use tunesmith::format::gguf::{Array, Gguf, Value};
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::format::source::{FileSource, MemorySource};
use tunesmith::text::tokenizer::Tokenizer;

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn smollm2() -> Tokenizer {
    let source = FileSource::open(tunesmith_tests::model_file::path()).unwrap();
    Tokenizer::from_gguf(&Gguf::open(Box::new(source)).unwrap()).unwrap()
}

#[test]
fn smollm2_equals_hugging_face() {
    let tokenizer = smollm2();
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/tokenizer.json")).unwrap();
    assert!(cases.len() >= 60);
    for case in &cases {
        assert_eq!(tokenizer.encode(&case.text, true).unwrap(), case.ids, "{:?}", case.text);
        assert_eq!(tokenizer.decode(&case.ids), case.text);

        let mut stream = tokenizer.stream();
        let mut text: String = case.ids.iter().map(|id| stream.push(*id)).collect();
        text += &stream.finish();
        assert_eq!(text, case.text);

        for (id, span) in tokenizer.encode_spans(&case.text, true).unwrap() {
            let covered = &case.text[span];
            assert!(covered.as_bytes().windows(tokenizer.bytes(id).len()).any(|w| w == tokenizer.bytes(id)));
        }
    }
}

/// What sentencepiece makes of a text, with a space put before it and without.
#[derive(serde::Deserialize)]
struct Pieces {
    text: String,
    prefixed: Vec<u32>,
    plain: Vec<u32>,
}

#[derive(serde::Deserialize)]
struct SentencePieces {
    tokens: Vec<String>,
    scores: Vec<f32>,
    types: Vec<i32>,
    texts: Vec<Pieces>,
}

#[test]
fn sentence_pieces_are_those_of_the_library() {
    let golden: SentencePieces = tunesmith_tests::golden::json("sentence_pieces.json");
    let tokenizer = |space_before: Option<bool>| {
        let mut writer = GgufWriter::new("llama");
        writer.set("tokenizer.ggml.model", Value::String("llama".into()));
        writer.set("tokenizer.ggml.tokens", Value::Array(Array::String(golden.tokens.clone())));
        writer.set("tokenizer.ggml.scores", Value::Array(Array::F32(golden.scores.clone())));
        writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(golden.types.clone())));
        if let Some(space_before) = space_before {
            writer.set("tokenizer.ggml.add_space_prefix", Value::Bool(space_before));
        }
        build(writer).unwrap()
    };
    let (prefixed, plain) = (tokenizer(None), tokenizer(Some(false)));
    assert!(prefixed.add_bos() && prefixed.bos() == Some(1) && prefixed.eos() == Some(2));
    for Pieces { text, prefixed: with_space, plain: without } in &golden.texts {
        assert_eq!(prefixed.encode(text, false).unwrap(), *with_space, "{text:?}");
        assert_eq!(plain.encode(text, false).unwrap(), *without, "{text:?} without a space before");
        // U+2581 is a space ever after.
        let spaces = text.replace('\u{2581}', " ");
        assert_eq!(plain.decode(without), spaces);
        let mut stream = plain.stream();
        let streamed: String = without.iter().map(|id| stream.push(*id)).collect();
        assert_eq!(streamed + &stream.finish(), spaces);
        assert_eq!(prefixed.decode(with_space), if text.is_empty() { String::new() } else { format!(" {spaces}") });
        for (id, span) in plain.encode_spans(text, false).unwrap() {
            let (covered, bytes) = (text[span].replace('\u{2581}', " "), plain.bytes(id));
            assert!(covered.as_bytes().windows(bytes.len()).any(|window| window == bytes), "{text:?}: {covered:?}");
        }
    }
    // A control token that is written is one only where they are looked for.
    assert_eq!(plain.encode("<s>", true).unwrap(), [1]);
    let mut writer = GgufWriter::new("llama");
    writer.set("tokenizer.ggml.model", Value::String("llama".into()));
    writer.set("tokenizer.ggml.tokens", Value::Array(Array::String(golden.tokens.clone())));
    writer.set("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; 3])));
    assert!(build(writer).err().unwrap().to_string().contains("there are 700 tokens and 3 scores"));
}

#[test]
fn smollm2_knows_its_special_tokens() {
    let tokenizer = smollm2();
    assert_eq!(tokenizer.vocab_size(), 49152);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.pad()), (Some(1), Some(2), Some(2)));
    assert!(!tokenizer.add_bos());
    assert_eq!(tokenizer.end_ids(), [0, 2]);
    assert_eq!(tokenizer.encode("<|im_end|>", true).unwrap(), [2]);
    let plain = tokenizer.encode("a<|im_end|>b", false).unwrap();
    assert!(!plain.contains(&2), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), "a<|im_end|>b");
    assert_eq!(tokenizer.token(2).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.id("<|im_start|>"), Some(1));
    assert_eq!(tokenizer.decode(&[49152, u32::MAX]), "");
}

#[test]
fn the_stream_holds_half_characters_back() {
    let tokenizer = smollm2();
    let ids = tokenizer.encode("𐍈", false).unwrap();
    assert!(ids.len() > 1, "{ids:?}");
    let mut stream = tokenizer.stream();
    let (last, first) = ids.split_last().unwrap();
    assert!(first.iter().all(|id| stream.push(*id).is_empty()));
    assert_eq!(stream.push(*last), "𐍈");
    assert_eq!(stream.finish(), "");

    // Broken off by another character, and by the end.
    let mut stream = tokenizer.stream();
    stream.push(ids[0]);
    let a = tokenizer.id("a").unwrap();
    assert_eq!(stream.push(a), "\u{fffd}a");
    stream.push(ids[0]);
    assert_eq!(stream.finish(), "\u{fffd}");
}

/// A vocabulary of the 256 bytes, a few merges and two added tokens.
fn small(pre: &str) -> GgufWriter {
    let bytes = (0..=255u8).map(|b| match b {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(b),
        0..=b' ' => char::from_u32(256 + u32::from(b)).unwrap(),
        0x7f..=0xa0 => char::from_u32(256 + 33 + u32::from(b) - 0x7f).unwrap(),
        0xad => char::from_u32(256 + 67).unwrap(),
    });
    let mut tokens: Vec<String> = bytes.map(String::from).collect();
    let mut types = vec![1; tokens.len()];
    let merges = ["1 2", "12 3", "Ã ©", "Ġ 1", "' T", "a b"];
    tokens.extend(merges.iter().map(|merge| merge.replacen(' ', "", 1)));
    types.resize(tokens.len(), 1);
    tokens.extend(["<|end|>".into(), "[tool]".into()]);
    types.extend([3, 4]);
    let mut writer = GgufWriter::new("llama");
    writer.set("tokenizer.ggml.model", Value::String("gpt2".into()));
    writer.set("tokenizer.ggml.pre", Value::String(pre.into()));
    writer.set("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    writer.set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    writer.set("tokenizer.ggml.merges", Value::Array(Array::String(merges.map(String::from).into())));
    writer
}

fn build(writer: GgufWriter) -> tunesmith::Result<Tokenizer> {
    Tokenizer::from_gguf(&Gguf::open(Box::new(MemorySource::new("small.gguf", writer.finish()))).unwrap())
}

#[test]
fn each_pre_tokenizer_splits_its_own_way() {
    let pieces = |pre: &str, text: &str| -> Vec<String> {
        let tokenizer = build(small(pre)).unwrap();
        tokenizer.encode(text, true).unwrap().into_iter().map(|id| tokenizer.decode(&[id])).collect()
    };
    for (pre, digits) in [
        ("gpt2", &["123", "4", " 1"][..]),
        ("gpt-2", &["123", "4", " 1"]),
        ("falcon", &["123", "4", " 1"]),
        ("smollm", &["1", "2", "3", "4", " ", "1"]),
        ("starcoder", &["1", "2", "3", "4", " ", "1"]),
        ("refact", &["1", "2", "3", "4", " ", "1"]),
        ("command-r", &["1", "2", "3", "4", " ", "1"]),
        ("qwen2", &["1", "2", "3", "4", " ", "1"]),
        ("llama-bpe", &["123", "4", " ", "1"]),
        ("default", &["123", "4", " ", "1"]),
    ] {
        assert_eq!(pieces(pre, "1234 1"), digits, "{pre}");
    }
    // Only qwen2 composes characters first, and only the newer expressions take 'T as they take 't.
    assert_eq!(pieces("qwen2", "e\u{301}"), ["é"]);
    assert_eq!(pieces("llama-bpe", "e\u{301}").len(), 3);
    assert_eq!(pieces("llama-bpe", "b'Tab"), ["b", "'T", "ab"]);
    assert_eq!(pieces("gpt2", "b'Tab"), ["b", "'", "T", "ab"]);
}

#[test]
fn added_tokens_of_both_kinds_are_matched() {
    let tokenizer = build(small("gpt2")).unwrap();
    let [end, tool] = ["<|end|>", "[tool]"].map(|token| tokenizer.id(token).unwrap());
    assert_eq!(tokenizer.encode("<|end|>[tool]", true).unwrap(), [end, tool]);
    assert_eq!(tokenizer.end_ids(), [end]);
    assert_eq!(tokenizer.eos(), None);
    // Files have -1 where no token pads.
    let mut writer = small("gpt-2");
    writer.set("tokenizer.ggml.padding_token_id", Value::U32(u32::MAX));
    assert_eq!(build(writer).unwrap().pad(), None);
    let spans = tokenizer.encode_spans("é[tool]", true).unwrap();
    assert_eq!(spans.iter().map(|(_, span)| span.clone()).collect::<Vec<_>>(), [0..2, 2..8]);
}

#[test]
fn damaged_vocabularies_are_refused() {
    let refused = |key: &str, value: Value, words: &str| {
        let mut writer = small("gpt2");
        writer.set(key, value);
        let error = build(writer).err().unwrap_or_else(|| panic!("{key} was accepted"));
        assert_eq!(error.code(), "format");
        assert!(error.to_string().contains(words) && error.to_string().contains("small.gguf"), "{error}");
    };
    let texts = |list: &[&str]| Value::Array(Array::String(list.iter().map(|t| t.to_string()).collect()));
    refused("tokenizer.ggml.model", Value::String("bert".into()), "\"bert\"");
    refused("tokenizer.ggml.model", Value::String("llama".into()), "tokenizer.ggml.scores");
    refused("tokenizer.ggml.pre", Value::String("tekken".into()), "\"tekken\"");
    refused("tokenizer.ggml.tokens", texts(&["a"]), "1 tokens and 264 token types");
    refused("tokenizer.ggml.tokens", Value::U32(1), "tokenizer.ggml.tokens");
    refused("tokenizer.ggml.merges", texts(&["日 本"]), "日");
    refused("tokenizer.ggml.merges", texts(&["ab"]), "\"ab\"");
    // A part that is no token, and one longer than any token, in which the library would write past its buffer.
    refused("tokenizer.ggml.merges", texts(&["1 2", "2 日"]), "the merge \"2 日\" is not of tokens, or makes none");
    refused("tokenizer.ggml.merges", texts(&["<|end|> <|end|>"]), "is not of tokens, or makes none");
    refused("tokenizer.ggml.eos_token_id", Value::U32(264), "tokenizer.ggml.eos_token_id");
}
