//! Merged models: what base and adapter compute together, and nothing of the base changed.

use std::collections::BTreeMap;

use pollster::block_on;
use tunesmith::bench::{Shape, synthetic};
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf::{Gguf, TensorInfo, Value};
use tunesmith::format::quant;
use tunesmith::format::source::MemorySource;
use tunesmith::model::{Decoder, Hooks, Inputs, Model};
use tunesmith::peft::merge::{Merge, OutType};
use tunesmith::peft::{self, Peft};
use tunesmith::settings::config::{Recompute, RunConfig};
use tunesmith::tape::Tape;
use tunesmith_tests::golden::{hash, rel_l2};
use tunesmith_tests::models;

/// Settings, by name.
type Fields = &'static [(&'static str, &'static str)];

/// Settings of every method that has merged models, with the tensors that those have otherwise, by parts of their names.
const MERGED: &[(Fields, &[&str])] = &[
    (
        &[("method", "lora"), ("r", "4")],
        &["attn_q.", "attn_k.", "attn_v.", "attn_output.", "ffn_gate.", "ffn_up.", "ffn_down."],
    ),
    (&[("method", "rslora"), ("r", "4"), ("target_modules", "q_proj,up_proj")], &["attn_q.", "ffn_up."]),
    (
        &[("method", "dora"), ("r", "4"), ("rank_pattern", "k_proj=2"), ("layers_to_transform", "1")],
        &["1.attn_q.", "1.attn_k.", "1.attn_v.", "1.attn_output.", "1.ffn_gate.", "1.ffn_up.", "1.ffn_down."],
    ),
    (
        &[("method", "lora"), ("target_modules", "v_proj"), ("modules_to_save", "lm_head,norm")],
        &["attn_v.", "norm.", ".output."],
    ),
    (
        &[("method", "lora"), ("target_modules", "v_proj"), ("modules_to_save", "embed_tokens")],
        &["attn_v.", "token_embd."],
    ),
    (&[("method", "adalora"), ("target_modules", "k_proj,down_proj")], &["attn_k.", "ffn_down."]),
    (&[("method", "ia3")], &["attn_k.", "attn_v.", "ffn_down."]),
    (&[("method", "ln-tuning")], &["norm."]),
    (&[("method", "full")], &[""]),
];

/// An adapter whose every parameter was moved a little.
fn adapter(model: &Model, fields: &[(&str, &str)]) -> Box<dyn Peft> {
    let mut config = RunConfig::from_json("{}").unwrap();
    fields.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    config.validate().unwrap();
    let adapter = block_on(peft::create(model, &config)).unwrap();
    let start = block_on(adapter.params().read()).unwrap();
    for (index, (tensor, start)) in adapter.params().tensors.iter().zip(start).enumerate() {
        let moved = hash::uniform(&tensor.name, tensor.count(), 0.05);
        adapter.params().write(index, &start.iter().zip(moved).map(|(x, by)| x + by).collect::<Vec<f32>>());
    }
    adapter
}

fn open(name: &str, bytes: Vec<u8>) -> Gguf {
    Gguf::open(Box::new(MemorySource::new(name, bytes))).unwrap()
}

fn load(model: &Model, gguf: &Gguf) -> Model {
    block_on(Model::load(&model.context, gguf, |_, _| {})).unwrap()
}

fn merged(model: &Model, gguf: &Gguf, adapter: &dyn Peft, outtype: OutType) -> Gguf {
    let merge = Merge::new(model, gguf, adapter, outtype).unwrap();
    let mut bytes = Vec::new();
    block_on(merge.write(|piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    }))
    .unwrap();
    assert_eq!(bytes.len() as u64, merge.bytes(), "it knows beforehand how long the file is");
    open("merged.gguf", bytes)
}

/// The logits of every row of a sequence.
fn logits(model: &Model, adapter: Option<&dyn Peft>) -> Vec<f32> {
    let context = &model.context;
    let ids = hash::hashed_ids("merge", 23, 259);
    let rows = ids.len();
    let inputs = Inputs { virtual_tokens: false, ..Inputs::new(context, rows).unwrap() };
    let out = context.buffer("logits", (rows * model.config.vocab * 4) as u64).unwrap();
    let peft = adapter.map(|adapter| adapter as &dyn Hooks);
    let decoder = Decoder { model, peft, training: false, recompute: Recompute::None };
    let mut t = Tape::new(context);
    let h = decoder.forward(&mut t, &inputs, None);
    let y = t.linear(h, decoder.head());
    t.keep(y, &out);
    let plan = t.finish(context).unwrap();
    let positions: Vec<u32> = (0..rows as u32).collect();
    context.write(&inputs.ids, 0, &ids);
    context.write(&inputs.positions, 0, &positions);
    context.write(&inputs.masks.keys_of_row, 0, &positions.iter().map(|&row| [0, row + 1]).collect::<Vec<[u32; 2]>>());
    plan.run(0);
    block_on(context.read(&out, 0, rows * model.config.vocab)).unwrap()
}

fn bytes(gguf: &Gguf, tensor: &TensorInfo) -> Vec<u8> {
    let mut all = Vec::new();
    gguf.read_tensor_chunks(tensor, 8 << 20, |_, bytes| {
        all.extend_from_slice(bytes);
        Ok(())
    })
    .unwrap();
    all
}

fn values(gguf: &Gguf, tensor: &TensorInfo) -> Vec<f32> {
    let mut values = vec![0.0; tensor.elements() as usize];
    quant::dequantize(tensor.ty, &bytes(gguf, tensor), &mut values).unwrap();
    values
}

#[test]
fn a_merged_model_answers_as_base_and_adapter_do() {
    for name in ["nano", "cut"] {
        let base = open(name, models::gguf(name));
        let model = load_named(name, &base);
        let before = logits(&model, None);
        for (fields, changed) in MERGED {
            // A second model of that size, trained in f32, is no test of merging.
            if name == "cut" && fields[0].1 == "full" {
                continue;
            }
            let adapter = adapter(&model, fields);
            let want = logits(&model, Some(adapter.as_ref()));
            let file = merged(&model, &base, adapter.as_ref(), OutType::F32);
            let got = logits(&load(&model, &file), None);
            let (distance, moved) = (rel_l2(&got, &want), rel_l2(&want, &before));
            println!("{name}, {fields:?}: rel-L2 {distance:.1e}, the adapter's own {moved:.1e}");
            assert!(distance <= 1e-5, "{name}, {fields:?}: rel-L2 {distance:e}");
            assert!(moved > 1e-4, "{name}, {fields:?}: the adapter does nothing");
            check_file(&base, &file, changed);
            // The model on the device is as it was: leaving the adapter out is all there is to unmerging.
            assert_eq!(logits(&model, None), before, "{name}, {fields:?}: merging moved the base");
        }
    }
}

fn load_named(name: &str, base: &Gguf) -> Model {
    block_on(Model::load(&models::context(), base, |_, _| {})).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All metadata is the base's, and so are the bytes of every tensor that is not among the changed.
fn check_file(base: &Gguf, file: &Gguf, changed: &[&str]) {
    let but_type = |gguf: &Gguf| {
        let mut metadata = gguf.metadata().clone();
        metadata.remove("general.file_type");
        metadata
    };
    assert_eq!(but_type(file), but_type(base));
    let mut same = 0;
    for tensor in base.tensors() {
        let new = file.tensor(&tensor.name).unwrap();
        assert_eq!(new.dims, tensor.dims);
        let is_changed = changed.iter().any(|part| format!(".{}", tensor.name).contains(part));
        let equal = new.ty == tensor.ty && bytes(file, new) == bytes(base, tensor);
        assert_eq!(equal, !is_changed, "{}", tensor.name);
        assert!(!is_changed || new.ty == GgmlType::F32);
        same += usize::from(equal);
    }
    assert!(same > 0 || changed == [""]);
    // A head that was the embedding's is one of its own where one of the two changed.
    let parted = changed.contains(&".output.") || changed.contains(&"token_embd.");
    let head = file.find_tensor("output.weight");
    assert_eq!(head.is_some(), parted);
    if let Some(head) = head.filter(|_| !changed.contains(&".output.")) {
        assert_eq!(bytes(file, head), bytes(base, base.tensor("token_embd.weight").unwrap()));
    }
}

#[test]
fn f16_is_f32_rounded_and_norms_stay_f32() {
    let base = open("nano", models::gguf("nano"));
    let model = load_named("nano", &base);
    let adapter = adapter(&model, &[("method", "lora"), ("modules_to_save", "lm_head,embed_tokens,norm")]);
    let [exact, half] = [OutType::F32, OutType::F16].map(|outtype| merged(&model, &base, adapter.as_ref(), outtype));
    let mut types = BTreeMap::new();
    for tensor in half.tensors() {
        let want = values(&exact, exact.tensor(&tensor.name).unwrap());
        *types.entry(tensor.ty.name()).or_insert(0) += 1;
        if tensor.dims.len() == 1 {
            assert_eq!((tensor.ty, values(&half, tensor)), (GgmlType::F32, want), "{}", tensor.name);
        } else {
            assert_eq!((tensor.ty, bytes(&half, tensor)), (GgmlType::F16, quant::quantize_f16(&want)));
        }
    }
    assert_eq!(types, BTreeMap::from([("F16", 16), ("F32", 5)]));
    let distance = rel_l2(&logits(&load(&model, &half), None), &logits(&model, Some(adapter.as_ref())));
    assert!(distance < 1e-3, "{distance:e}");

    let index = adapter.params().tensors.iter().position(|tensor| tensor.name.contains("lora_B")).unwrap();
    let count = adapter.params().tensors[index].count();
    for (value, outtype, words) in [(1e6, OutType::F16, "F16 does not hold"), (f32::NAN, OutType::F32, "NaN")] {
        adapter.params().write(index, &vec![value; count]);
        let merge = Merge::new(&model, &base, adapter.as_ref(), outtype).unwrap();
        let error = block_on(merge.write(|_| Ok(()))).unwrap_err();
        assert!(error.code() == "adapter" && error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_file_type_and_the_alignment_are_right() {
    let mut writer = tunesmith::format::gguf_write::GgufWriter::new("llama");
    let nano = open("nano", models::gguf("nano"));
    nano.metadata().iter().for_each(|(key, value)| writer.set(key, value.clone()));
    writer.set("general.alignment", Value::U32(64));
    writer.set("general.file_type", Value::U32(3));
    for tensor in nano.tensors() {
        writer.tensor(&tensor.name, &tensor.dims, tensor.ty, bytes(&nano, tensor));
    }
    let base = open("nano", writer.finish());
    let model = load_named("nano", &base);
    let adapter = adapter(&model, &[("method", "ln-tuning")]);
    let file = merged(&model, &base, adapter.as_ref(), OutType::F32);
    assert!(file.tensors().iter().all(|tensor| tensor.offset % 64 == 0));
    assert_eq!(file.metadata()["general.file_type"], Value::U32(0), "all of it is f32");
    check_file(&base, &file, &["norm."]);
}

#[test]
fn what_cannot_be_merged_says_why() {
    let base = open("nano", models::gguf("nano"));
    let model = load_named("nano", &base);
    for (method, why) in [
        ("prompt", "virtual tokens"),
        ("p-tuning", "virtual tokens"),
        ("prefix", "virtual tokens"),
        ("p-tuning-v2", "virtual tokens"),
        ("houlsby", "not linear"),
        ("unipelt", "gates"),
        ("bitfit", "biases"),
    ] {
        let adapter = adapter(&model, &[("method", method)]);
        let error = Merge::new(&model, &base, adapter.as_ref(), OutType::F32).err().expect(method);
        assert!(error.code() == "adapter" && error.to_string().contains(why), "{method}: {error}");
    }
}

#[test]
fn what_was_loaded_in_4_bits_is_merged_as_it_was_loaded() {
    let base = synthetic::gguf(&Shape::named("nano").unwrap(), GgmlType::F16).unwrap();
    let model = block_on(Model::load_as(&models::context(), &base, true, |_, _| {})).unwrap();
    let adapter = adapter(&model, &[("method", "lora"), ("target_modules", "q_proj")]);
    let want = logits(&model, Some(adapter.as_ref()));
    let file = merged(&model, &base, adapter.as_ref(), OutType::F32);
    let distance = rel_l2(&logits(&load(&model, &file), None), &want);
    println!("rel-L2 {distance:.1e}");
    assert!(distance <= 1e-5, "{distance:e}");
}
