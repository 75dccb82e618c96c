//! The GGUF reader against files that are right, cut short and damaged, and its numbers against ggml's.

use std::collections::BTreeSet;

use tunesmith::Error;
use tunesmith::format::encoding::Encoding;
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf::{Array, Gguf, Value};
use tunesmith::format::gguf_write::GgufWriter;
use tunesmith::format::quant;
use tunesmith::format::source::{MemorySource, ReadAt};
use tunesmith::model::ModelConfig;
use tunesmith_tests::models::nano_file;

fn open(bytes: Vec<u8>) -> Result<Gguf, Error> {
    Gguf::open(Box::new(MemorySource::new("small.gguf", bytes)))
}

fn small() -> Vec<u8> {
    let mut writer = GgufWriter::new("llama");
    writer.set("a.u8", Value::U8(7));
    writer.set("a.i64", Value::I64(-3));
    writer.set("a.f32", Value::F32(0.5));
    writer.set("a.bool", Value::Bool(true));
    writer.set("a.words", Value::Array(Array::String(vec!["one".into(), "zwei".into()])));
    writer.set("a.flags", Value::Array(Array::Bool(vec![true, false])));
    writer.set("a.bytes", Value::Array(Array::U8(vec![1, 2, 3])));
    writer.set("a.types", Value::Array(Array::I32(vec![1, 3])));
    let values: Vec<f32> = (0..192).map(|i| i as f32 / 10.0).collect();
    writer.tensor_f32("norm.weight", &[5], &values[..5]);
    writer.tensor("up.weight", &[64, 3], GgmlType::Q4_1, quant::quantize_q4_1(&values));
    writer.tensor("down.weight", &[32, 6], GgmlType::Q8_0, quant::quantize_q8_0(&values));
    writer.tensor("odd.weight", &[7, 9], GgmlType::F16, quant::quantize_f16(&values[..63]));
    writer.finish()
}

#[test]
fn what_was_written_is_read() {
    let gguf = open(small()).unwrap();
    assert_eq!(gguf.require::<&str>("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.require::<u32>("a.u8").unwrap(), 7);
    assert_eq!(gguf.require::<f32>("a.f32").unwrap(), 0.5);
    assert!(gguf.require::<bool>("a.bool").unwrap());
    assert_eq!(gguf.require::<&[String]>("a.words").unwrap(), ["one", "zwei"]);
    assert_eq!(gguf.require::<&[i32]>("a.types").unwrap(), [1, 3]);
    assert_eq!(gguf.metadata()["a.flags"], Value::Array(Array::Bool(vec![true, false])));
    assert_eq!(gguf.get::<u32>("a.absent").unwrap(), None);

    let up = gguf.tensor("up.weight").unwrap();
    assert_eq!((up.dims.as_slice(), up.row_len(), up.elements(), up.bytes), (&[64, 3][..], 64, 192, 120));
    assert_eq!(gguf.encoding(up).unwrap(), Encoding::Q4);
}

#[test]
fn metadata_errors_name_the_key() {
    let gguf = open(small()).unwrap();
    for (error, key) in [
        (gguf.require::<u32>("a.absent").unwrap_err(), "a.absent"),
        (gguf.require::<u32>("a.i64").unwrap_err(), "a.i64 is -3"),
        (gguf.require::<&str>("a.words").unwrap_err(), "a.words is an array of text"),
        (gguf.get::<bool>("a.f32").unwrap_err(), "a.f32 is 0.5"),
        (gguf.tensor("blk.0.attn_q.weight").unwrap_err(), "blk.0.attn_q.weight"),
    ] {
        assert_eq!(error.code(), "format");
        assert!(error.to_string().contains(key) && error.to_string().contains("small.gguf"), "{error}");
    }
}

#[test]
fn pieces_join_to_the_tensor() {
    let gguf = open(small()).unwrap();
    for tensor in gguf.tensors() {
        let mut whole = Vec::new();
        gguf.read_tensor_chunks(tensor, 1 << 20, |first, bytes| {
            assert_eq!(first, 0);
            whole.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(whole.len() as u64, tensor.bytes);
        for max in [68, 80, 100, 128] {
            let (mut joined, mut elements) = (Vec::new(), 0);
            gguf.read_tensor_chunks(tensor, max, |first, bytes| {
                assert!(bytes.len() <= max, "{} bytes in a piece of at most {max}", bytes.len());
                assert_eq!(first, elements);
                elements += (bytes.len() / tensor.ty.block_bytes() * tensor.ty.block_len()) as u64;
                assert!(elements % 2 == 0 || elements == tensor.elements());
                joined.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
            assert_eq!(joined, whole, "{} in pieces of {max}", tensor.name);
        }
    }
    let up = gguf.tensor("up.weight").unwrap();
    assert_eq!(gguf.read_tensor_chunks(up, 19, |_, _| Ok(())).unwrap_err().code(), "format");
    let stop = gguf.read_tensor_chunks(up, 80, |_, _| Err(Error::io("somewhere", "stop")));
    assert_eq!(stop.unwrap_err().code(), "io");
}

/// Opens a damaged file and reads all of it. Anything but a panic or a huge allocation is fine.
fn read_all(bytes: Vec<u8>) -> Result<(), Error> {
    let gguf = open(bytes)?;
    for tensor in gguf.tensors() {
        gguf.read_tensor_chunks(tensor, 1 << 20, |_, bytes| {
            let mut out = vec![0.0; bytes.len() / tensor.ty.block_bytes() * tensor.ty.block_len()];
            quant::dequantize(tensor.ty, bytes, &mut out)?;
            quant::pack(tensor.ty, bytes).map(|_| ())
        })?;
    }
    gguf.get::<&str>("general.architecture").map(|_| ())
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = small();
    read_all(bytes.clone()).unwrap();
    for len in 0..bytes.len() {
        let error = read_all(bytes[..len].to_vec()).unwrap_err();
        assert_eq!(error.code(), "format", "cut to {len} bytes: {error}");
        assert!(!error.help().is_empty());
    }
}

#[test]
fn every_changed_byte_is_read_or_refused() {
    let bytes = small();
    let mut refused = 0;
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            refused += usize::from(read_all(damaged).is_err());
        }
    }
    assert!(refused > 1000, "only {refused} changes were noticed");
}

#[test]
fn no_huge_length_is_believed() {
    let bytes = small();
    for at in 8..bytes.len() - 8 {
        let mut damaged = bytes.clone();
        damaged[at..at + 8].copy_from_slice(&(u64::MAX / 3).to_le_bytes());
        let _refused_or_read = read_all(damaged);
    }
}

/// The head of a file that says it has so many tensors and keys, and what follows.
fn raw(tensors: u64, keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), keys.to_le_bytes()].concat();
    [b"GGUF".as_slice(), &3u32.to_le_bytes(), &counts, &rest.concat()].concat()
}

/// A text, or one that says it is so long.
fn text(bytes: &[u8], length: Option<u64>) -> Vec<u8> {
    [length.unwrap_or(bytes.len() as u64).to_le_bytes().as_slice(), bytes].concat()
}

/// What a tensor is said to be: f32 of these dimensions, at this place in the data.
fn tensor_info(name: &str, dims: &[u64], place: u64) -> Vec<u8> {
    let dims_bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    let count = (dims.len() as u32).to_le_bytes();
    [text(name.as_bytes(), None).as_slice(), &count, &dims_bytes, &0u32.to_le_bytes(), &place.to_le_bytes()].concat()
}

/// What other readers of the format were broken with, by the number under which it was made known. What a count or a length
/// asks for is in each more than the file has, and wraps around where it is multiplied or added without care.
#[test]
fn known_holes_of_other_readers_are_closed() {
    let array_of_texts = |count: u64| {
        let [array, texts] = [9u32, 8].map(u32::to_le_bytes);
        raw(0, 1, &[&text(b"a", None), &array, &texts, &count.to_le_bytes(), &[0; 64]])
    };
    let [key, kind] = [text(b"a", None), 8u32.to_le_bytes().to_vec()];
    let edge = [&tensor_info("a", &[1 << 61], 0)[..], &tensor_info("b", &[1 << 61], 1 << 63)].concat();
    let cut = "the file ends within";
    for (number, bytes, words) in [
        // More dimensions than a tensor has.
        ("CVE-2024-21802", raw(1, 0, &[&tensor_info("a", &[1; 100], 0), &[0; 64]]), "has 100 dimensions"),
        // An array of texts of 16 bytes each, tensors of 88, keys of 48, and a text with a byte behind it.
        ("CVE-2024-21825", array_of_texts(u64::MAX / 16 + 2), cut),
        ("CVE-2024-21836", raw(u64::MAX / 88 + 2, 0, &[&[0; 256]]), "the file ends within the list of tensors"),
        ("CVE-2024-23496", raw(0, u64::MAX / 48 + 2, &[&[0; 4]]), cut),
        ("CVE-2024-23605", raw(0, 1, &[&key, &kind, &text(b"b", Some(u64::MAX)), &[0; 64]]), cut),
        // Tensors of 2^63 bytes, which wrap around together.
        ("CVE-2025-53630", raw(2, 0, &[&edge, &[0; 256]]), "would end at byte 9223372036854775904, and the file has"),
        // One that leaves no room for what is kept beside it.
        (
            "CVE-2026-27940",
            raw(1, 0, &[&tensor_info("a", &[(1 << 62) - 8], 0), &[0; 256]]),
            "would end far past any file",
        ),
        // Dimensions whose product wraps around to a few bytes.
        ("CVE-2026-33298", raw(1, 0, &[&tensor_info("a", &[1 << 32, 1 << 31, 2], 0), &[0; 256]]), "has the sizes"),
    ] {
        let error = read_all(bytes).expect_err(number);
        assert_eq!(error.code(), "format", "{number}: {error}");
        assert!(error.to_string().contains(words), "{number}: {error}");
    }
}

#[test]
fn misplaced_tensors_are_named() {
    let bytes = small();
    let name = b"up.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // The number of dimensions, two of them, and the type lie between.
    let offset = at + 4 + 16 + 4;
    assert_eq!(bytes[offset..offset + 8], 32u64.to_le_bytes());
    for (place, words) in [
        (33u64, "tensor up.weight begins at byte 33 of the data, and at a multiple of 32 was expected"),
        (0, "the tensors norm.weight and up.weight lie over each other"),
        (64, "the tensors up.weight and down.weight lie over each other"),
    ] {
        let mut moved = bytes.clone();
        moved[offset..offset + 8].copy_from_slice(&place.to_le_bytes());
        let error = open(moved).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn other_files_are_refused_in_words() {
    let mut bytes = small();
    for (version, words) in [(1u32, "version 1"), (4, "version 4"), (3u32.swap_bytes(), "big-endian")] {
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        let error = open(bytes.clone()).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
    for other in [&b""[..], b"GG", b"PK\x03\x04 and more"] {
        let error = open(other.to_vec()).err().unwrap();
        assert!(error.to_string().contains("not a GGUF file"), "{error}");
    }
}

/// A model in three files, the first of which has no tensors, as gguf-split may leave it.
fn split_model() -> Vec<GgufWriter> {
    let part = |number: u16| {
        let mut file = GgufWriter::default();
        file.set("split.no", Value::U16(number));
        file.set("split.count", Value::U16(3));
        file.set("split.tensors.count", Value::I32(3));
        file
    };
    let mut parts: Vec<GgufWriter> = (0..3).map(part).collect();
    parts[0].set("general.architecture", Value::String("llama".into()));
    parts[1].tensor_f32("one.weight", &[4], &[1.0, 2.0, 3.0, 4.0]);
    parts[1].tensor_f32("two.weight", &[2], &[5.0, 6.0]);
    parts[2].tensor_f32("three.weight", &[3], &[7.0, 8.0, 9.0]);
    parts
}

fn open_parts(parts: Vec<GgufWriter>) -> Result<Gguf, Error> {
    let named = |(index, part): (usize, GgufWriter)| -> Box<dyn ReadAt> {
        Box::new(MemorySource::new(format!("file {index}"), part.finish()))
    };
    Gguf::open_parts(parts.into_iter().enumerate().map(named).collect())
}

#[test]
fn a_model_in_several_files() {
    let gguf = open_parts(split_model()).unwrap();
    assert_eq!(gguf.require::<&str>("general.architecture").unwrap(), "llama");
    // What is written of it is one file.
    assert!(gguf.metadata().keys().all(|key| !key.starts_with("split.")));
    assert_eq!(gguf.file_len(), split_model().into_iter().map(|part| part.finish().len() as u64).sum::<u64>());
    for (name, want) in
        [("one.weight", &[1.0_f32, 2.0, 3.0, 4.0][..]), ("two.weight", &[5.0, 6.0]), ("three.weight", &[7.0, 8.0, 9.0])]
    {
        let mut found = Vec::new();
        gguf.read_tensor_chunks(gguf.tensor(name).unwrap(), 1 << 20, |_, bytes| {
            found.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        assert_eq!(bytemuck::pod_collect_to_vec::<u8, f32>(&found), want, "{name}");
    }
}

#[test]
fn files_of_a_model_that_are_missing_or_misplaced_are_named() {
    let of = |order: &[usize]| {
        let mut all: Vec<Option<GgufWriter>> = split_model().into_iter().map(Some).collect();
        order.iter().map(|&part| all[part].take().unwrap()).collect::<Vec<_>>()
    };
    let mut twice = split_model();
    twice[2].tensor_f32("one.weight", &[1], &[0.0]);
    let mut fewer = split_model();
    fewer[0].set("split.tensors.count", Value::I32(4));
    let mut no_number = split_model();
    no_number[1].set("split.count", Value::String("three".into()));
    let whole = GgufWriter::default;
    for (parts, file, words) in [
        (of(&[0]), "file 0", "this is file 1 of the 3 of a model, and 1 of them are here"),
        (of(&[0, 2, 1]), "file 1", "this is file 3 of a model, and file 2 was expected"),
        (vec![whole(), whole()], "file 0", "this file is a whole model, and 2 files are here: one was expected"),
        (twice, "file 2", "the tensor one.weight is there twice"),
        (fewer, "file 0", "the model's files have 3 tensors, and 4 were expected"),
        (no_number, "file 1", "split.count is the text \"three\", and a number was expected"),
    ] {
        let error = open_parts(parts).err().unwrap();
        assert!(error.to_string().contains(file) && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn an_unsupported_encoding_is_named_with_its_tensor() {
    let mut writer = GgufWriter::new("llama");
    writer.tensor("blk.0.ffn_up.weight", &[256, 2], GgmlType::IQ1_S, vec![0; 100]);
    let gguf = open(writer.finish()).unwrap();
    let error = gguf.encoding(&gguf.tensors()[0]).unwrap_err();
    assert_eq!(error.code(), "quantization");
    assert!(error.to_string().contains("blk.0.ffn_up.weight is encoded as IQ1_S"), "{error}");
    assert!(error.help().contains("Q4_1"), "{}", error.help());
}

#[derive(serde::Deserialize)]
struct Golden {
    source: String,
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    r#type: String,
    quantized: String,
    values: String,
    noise: String,
    noise_values: String,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn bits(text: &str) -> Vec<u32> {
    hex(text).chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn blocks_equal_ggmls_bit_for_bit() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/quant.json")).unwrap();
    let source: Vec<f32> = bits(&golden.source).into_iter().map(f32::from_bits).collect();
    let types: Vec<&str> = golden.cases.iter().map(|case| case.r#type.as_str()).collect();
    let supported: Vec<&str> =
        GgmlType::ALL.iter().filter(|ty| Encoding::of(**ty).is_some()).map(|ty| ty.name()).collect();
    assert_eq!(BTreeSet::from_iter(types), BTreeSet::from_iter(supported), "a golden for each type that is read");
    for case in golden.cases {
        let ty = GgmlType::ALL.into_iter().find(|ty| ty.name() == case.r#type).unwrap();
        let quantized: Vec<u8> = match ty {
            GgmlType::F32 => source.iter().flat_map(|v| v.to_le_bytes()).collect(),
            GgmlType::F16 => quant::quantize_f16(&source),
            GgmlType::Q4_0 => quant::quantize_q4_0(&source),
            GgmlType::Q4_1 => quant::quantize_q4_1(&source),
            GgmlType::Q8_0 => quant::quantize_q8_0(&source),
            _ => Vec::new(),
        };
        assert_eq!(quantized, hex(&case.quantized), "quantizing to {ty}");
        for (bytes, expected) in [(quantized, case.values), (hex(&case.noise), case.noise_values)] {
            let expected = bits(&expected);
            let mut values = vec![0.0; expected.len()];
            quant::dequantize(ty, &bytes, &mut values).unwrap();
            let found: Vec<u32> = values.iter().map(|v| v.to_bits()).collect();
            assert_eq!(found, expected, "dequantizing {ty}");
        }
    }
}

/// What is said of the nano model with some of its metadata changed.
fn refused(key: &str, value: Value) -> Error {
    let mut file = nano_file();
    file.set(key, value);
    ModelConfig::from_gguf(&open(file.finish()).unwrap()).unwrap_err()
}

#[test]
fn sizes_and_numbers_that_no_model_has_are_refused() {
    let most = u64::MAX;
    for (key, value, words) in [
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "rms_epsilon is NaN"),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(-1.0), "rms_epsilon is -1, and"),
        ("llama.rope.freq_base", Value::F32(0.0), "rope.freq_base is 0, and a number above 0"),
        ("llama.rope.freq_base", Value::F32(f32::INFINITY), "rope.freq_base is inf, and"),
        ("llama.rope.scaling.factor", Value::F32(f32::NAN), "rope.scaling.factor is NaN, and a number above 0"),
        ("llama.rope.scaling.type", Value::String("yarn".into()), "rope.scaling.original_context_length"),
        ("llama.rope.dimension_count", Value::U32(7), "rope.dimension_count is 7, and an even number up to 16"),
        ("llama.rope.dimension_count", Value::U32(18), "rope.dimension_count is 18, and an even number up to 16"),
        ("llama.attn_logit_softcapping", Value::F32(-1.0), "attn_logit_softcapping is -1, and a number above 0"),
        ("llama.final_logit_softcapping", Value::F32(f32::NAN), "final_logit_softcapping is NaN, and a number above 0"),
        (
            "llama.block_count",
            Value::U32(i32::MAX as u32),
            "block_count is 2147483647, and there is no tensor blk.2147483646.",
        ),
        ("llama.block_count", Value::U64(most), "there is no tensor blk."),
        ("llama.context_length", Value::U64(1 << 63), "context_length is 9223372036854775808, and at most "),
        ("llama.embedding_length", Value::U64(most), "embedding_length is 18446744073709551615, and at most 1048576"),
        ("llama.feed_forward_length", Value::U64(1 << 40), "feed_forward_length is 1099511627776, and at most"),
        ("llama.attention.head_count", Value::U64(most), "head_count is 18446744073709551615, and at most"),
        ("llama.attention.head_count_kv", Value::U64(1 << 60), "head_count_kv is 1152921504606846976, and at most"),
    ] {
        let error = refused(key, value);
        assert!(error.to_string().contains(words), "{key}: {error}");
        assert!(error.help().contains("damaged"), "{key}: {}", error.help());
    }
}

#[test]
fn factors_of_frequencies_are_checked() {
    for (factors, words) in [
        (vec![1.0; 4], "rope_freqs.weight is F32 of shape [4], and 8 numbers"),
        (vec![0.0; 8], "rope_freqs.weight holds 0, and numbers above 0"),
        (vec![f32::NAN; 8], "rope_freqs.weight holds NaN"),
    ] {
        let mut file = nano_file();
        file.tensor_f32("rope_freqs.weight", &[factors.len() as u64], &factors);
        let error = ModelConfig::from_gguf(&open(file.finish()).unwrap()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn what_is_not_supported_is_named_and_not_called_damaged() {
    let text = |text: &str| Value::String(text.into());
    for (key, value, words) in [
        ("llama.embedding_length", Value::U32(50), "a hidden size of 50, which is no multiple of 4"),
        ("llama.attention.key_length", Value::U32(24), "heads of dimension 24, which is none of"),
        ("llama.attention.key_length", Value::U64(u64::MAX), "heads of dimension 18446744073709551615"),
        ("llama.expert_count", Value::U32(8), "a mixture of 8 experts: not supported"),
        ("llama.attention.causal", Value::Bool(false), "attention to what comes later"),
        ("llama.rope.scaling.type", text("longrope"), "rotary scaling (longrope)"),
        ("llama.attention.value_length", Value::U32(8), "values of another dimension than keys"),
    ] {
        let error = refused(key, value);
        assert!(error.to_string().contains(words), "{key}: {error}");
        assert!(error.help().contains("README's Limits"), "{key}: {}", error.help());
    }
    // What says that there is none of it is as good as nothing.
    let mut file = nano_file();
    file.set("llama.rope.scaling.type", text("none"));
    file.set("llama.expert_count", Value::U32(0));
    file.set("llama.attention.sliding_window", Value::U32(0));
    ModelConfig::from_gguf(&open(file.finish()).unwrap()).unwrap();
}
