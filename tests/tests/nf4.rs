//! NF4 against what bitsandbytes makes of the same numbers, bit for bit, and models that are loaded in it.

use pollster::block_on;
use tunesmith::Error;
use tunesmith::bench::{Shape, synthetic};
use tunesmith::format::encoding::Encoding;
use tunesmith::format::ggml::GgmlType;
use tunesmith::format::gguf::Gguf;
use tunesmith::format::nf4::{self, Quantizer};
use tunesmith::format::quant::dequantize;
use tunesmith::model::{Group, Model, Norm};
use tunesmith::ops::Weight;
use tunesmith::peft;
use tunesmith::settings::config::{Method, RunConfig};
use tunesmith::tape::Tape;
use tunesmith_tests::check_op::Guarded;
use tunesmith_tests::golden::{self, Example, Tensors, hash};
use tunesmith_tests::reference::{self, Batch, Decoder, Function, Matrix};
use tunesmith_tests::{models, parity};

/// The tensors of the fixture.
const CASES: [&str; 6] = ["halves", "single", "half_block", "zeros", "tiny", "edges"];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// bitsandbytes' bytes as words: two codes a byte, the first in the high half.
fn words(packed: &[u8]) -> Vec<u32> {
    let code = |i: usize| u32::from(packed[i / 2] >> (4 * (1 - i % 2)) & 15);
    (0..2 * packed.len()).step_by(8).map(|at| (0..8).map(|i| code(at + i) << (4 * i)).sum()).collect()
}

#[test]
fn what_bitsandbytes_makes() {
    let golden = Tensors::read("nf4.safetensors");
    assert_eq!(bits(&nf4::dynamic_map()), bits(&golden.f32("dynamic_map").1), "the map");
    assert_eq!(bits(&nf4::CODES), bits(&golden.f32("codes").1), "the codes");
    for case in CASES {
        let part = |what: &str| golden.f32(&format!("{case}.{what}")).1;
        let (source, values) = (part("source"), part("values"));
        let (codes, scales) = nf4::quantize("fixture", case, &source).unwrap();
        assert!(codes == words(&golden.u8(&format!("{case}.packed"))), "{case}: codes");
        assert!(scales.codes == golden.u8(&format!("{case}.absmax_codes")), "{case}: codes of the scales");
        assert_eq!(bits(&scales.absmax), bits(&part("absmax")), "{case}: scales of the scales");
        assert_eq!(bits(&[scales.offset]), bits(&part("offset")), "{case}: offset");
        let mut back = vec![0.0; source.len()];
        nf4::dequantize(&codes, &scales, &mut back);
        assert!(bits(&back) == bits(&values), "{case}: values");
    }
}

#[test]
fn pieces_make_what_the_whole_makes() {
    let (_, source) = Tensors::read("nf4.safetensors").f32("halves.source");
    let whole = nf4::quantize("fixture", "halves", &source).unwrap();
    for size in [32, 96, 576, 4000] {
        let mut quantizer = Quantizer::default();
        let mut codes = Vec::new();
        for piece in source.chunks(size) {
            codes.extend(quantizer.push("fixture", "halves", piece).unwrap());
        }
        let (rest, scales) = quantizer.finish();
        codes.extend(rest);
        assert!((&codes, &scales) == (&whole.0, &whole.1), "in pieces of {size}");
    }
}

#[test]
fn no_number_that_is_none_is_quantized() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2e30] {
        let mut values = vec![0.5; 200];
        values[170] = value;
        let mut quantizer = Quantizer::default();
        quantizer.push("model.gguf", "blk.0.ffn_up.weight", &values[..100]).unwrap();
        let error = quantizer.push("model.gguf", "blk.0.ffn_up.weight", &values[100..]).unwrap_err();
        assert_eq!(error.code(), "format");
        assert!(error.to_string().contains("model.gguf: blk.0.ffn_up.weight: value 170 is"), "{error}");
    }
}

#[test]
fn the_device_has_the_same_bits() {
    let context = models::context();
    let golden = Tensors::read("nf4.safetensors");
    for case in CASES {
        let (shape, source) = golden.f32(&format!("{case}.source"));
        let (rows, cols) = (shape[0], shape[1]);
        let (codes, scales) = nf4::quantize("fixture", case, &source).unwrap();
        let (codes, scales) = (Guarded::new(&context, &codes).buffer, Guarded::new(&context, &scales.words()).buffer);
        let weight = Weight::frozen(case, rows, cols, Encoding::Nf4, codes, Some(scales));
        let ids: Vec<u32> = (0..rows as u32).collect();
        let ids = context.buffer_with("ids", &ids).unwrap();
        let out = Guarded::new(&context, &vec![f32::NAN; source.len()]);
        let mut t = Tape::new(&context);
        let y = t.embed(rows, &ids, &weight, 1.0, None);
        t.keep(y, &out.buffer);
        t.finish(&context).unwrap().run(0);
        let want = golden.f32(&format!("{case}.values")).1;
        // A device may take the sign from a zero.
        let plain = |values: &[f32]| bits(&values.iter().map(|value| value + 0.0).collect::<Vec<_>>());
        assert!(plain(&out.read(&context)) == plain(&want), "{case}");
    }
}

/// A model of two blocks. The layers of each of its groups can be joined; with `narrow` keys and values those of q, k and
/// v cannot, for k ends within a record.
fn shape(narrow: bool) -> Shape {
    Shape {
        name: "two-blocks",
        layers: 2,
        hidden: 128,
        heads: 8,
        kv_heads: if narrow { 1 } else { 2 },
        head_dim: 16,
        ffn: 96,
        vocab: 512,
        context_length: 256,
    }
}

fn file(narrow: bool, ty: GgmlType) -> Gguf {
    synthetic::gguf(&shape(narrow), ty).unwrap()
}

fn load(gguf: &Gguf) -> Model {
    block_on(Model::load_as(&models::context(), gguf, true, |_, _| {})).unwrap()
}

/// A tensor's numbers, as the file has them.
fn numbers(gguf: &Gguf, name: &str) -> Vec<f32> {
    let tensor = gguf.tensor(name).unwrap();
    let mut values = Vec::new();
    let take = |_: u64, bytes: &[u8]| {
        let mut piece = vec![0.0; bytes.len() / tensor.ty.block_bytes() * tensor.ty.block_len()];
        dequantize(tensor.ty, bytes, &mut piece)?;
        values.extend(piece);
        Ok(())
    };
    gguf.read_tensor_chunks(tensor, 8 << 20, take).unwrap();
    values
}

/// The same after NF4, where it is a linear layer.
fn in_nf4(gguf: &Gguf, name: &str) -> Vec<f32> {
    let mut values = numbers(gguf, name);
    if name.starts_with("blk.") && !name.contains("norm") {
        let (codes, scales) = nf4::quantize("model", name, &values).unwrap();
        nf4::dequantize(&codes, &scales, &mut values);
    }
    values
}

#[test]
fn a_model_is_quantized_while_it_is_loaded() {
    for (narrow, ty) in [(false, GgmlType::F32), (false, GgmlType::F16), (true, GgmlType::F16)] {
        let gguf = file(narrow, ty);
        let model = load(&gguf);
        assert!(model.load_in_4bit);
        assert_eq!((model.embedding.encoding(), model.norm(Norm::Last).gain.encoding()), (Encoding::Q8, Encoding::F32));
        for (number, layer) in model.layers.iter().enumerate() {
            for group in Group::ALL {
                let weights = &layer.linears(group).weights;
                let joined = !(narrow && group == Group::Qkv);
                let modules = model.config.architecture.group(group);
                assert_eq!(weights.len(), if joined { 1 } else { modules.clone().count() }, "{narrow} {group:?}");
                let mut got = Vec::new();
                for weight in weights {
                    assert_eq!(weight.encoding(), Encoding::Nf4);
                    let rows: Vec<u32> = (0..weight.rows as u32).collect();
                    got.extend(block_on(model.rows(weight, &rows)).unwrap());
                }
                let names = modules.map(|module| format!("blk.{number}.{}.weight", module.gguf_name));
                let want: Vec<f32> = names.flat_map(|name| in_nf4(&gguf, &name)).collect();
                assert!(bits(&got) == bits(&want), "block {number}, {group:?}");
            }
        }
        let whole = block_on(Model::load(&models::context(), &file(narrow, GgmlType::F32), |_, _| {})).unwrap();
        assert!(!whole.load_in_4bit);
        let linears = |model: &Model| -> u64 {
            model
                .layers
                .iter()
                .flat_map(|l| Group::ALL.map(|g| l.linears(g).all().map(Weight::bytes).sum::<u64>()))
                .sum()
        };
        let share = linears(&model) as f64 / linears(&whole) as f64;
        // 4.14 bits of 32, and a kilobyte for each weight, which these small ones feel.
        assert!((0.129..0.25).contains(&share), "{share}");
    }
}

#[test]
fn gradients_over_nf4() {
    let tuned = |model: &Model, fields: &[(&str, &str)]| {
        let mut config = RunConfig::new(Method::Lora);
        fields.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        let adapter = block_on(peft::create(model, &config)).unwrap();
        for (index, tensor) in adapter.params().tensors.iter().enumerate() {
            adapter.params().write(index, &hash::uniform(&tensor.name, tensor.count(), 0.1));
        }
        (adapter, config)
    };
    for narrow in [false, true] {
        let gguf = file(narrow, GgmlType::F16);
        let model = load(&gguf);
        let reference = Decoder::of(
            model.config.layers,
            model.config.heads(),
            model.config.rotary.base,
            f64::from(model.config.norm_eps),
            |name| {
                let cols = gguf.tensor(name).unwrap().dims[0] as usize;
                let values = in_nf4(&gguf, name);
                Matrix::from_f32(values.len() / cols, cols, &values)
            },
        );
        let ids = hash::hashed_ids("nf4.step", 29, 512);
        let labels = ids.iter().enumerate().map(|(i, &id)| if i < 9 { -100 } else { id as i32 }).collect();
        let example = Example { input_ids: ids, labels };
        let batch = Batch::example(&example.input_ids, &example.labels, 0, 512, 1.0 / 20.0);
        for fields in [&[("method", "lora")][..], &[("method", "dora")], &[("method", "ia3")]] {
            let (adapter, config) = tuned(&model, fields);
            let scale = config.lora_alpha / f64::from(config.r);
            let method = reference::Method { scale, orthogonality: 0.0, function: Function::Relu, prefix: false };
            let tensors = adapter.params().tensors.iter().map(|tensor| {
                let cols = tensor.shape[tensor.shape.len() - 1];
                let values = hash::uniform(&tensor.name, tensor.count(), 0.1);
                (tensor.name.clone(), Matrix::from_f32(tensor.count() / cols, cols, &values))
            });
            let (want_loss, want) = reference.loss_and_gradients(method, &tensors.collect(), &batch);
            let (loss, grads) = parity::step(&model, adapter.as_ref(), &example);
            assert!((loss - want_loss).abs() <= 1e-5 * want_loss, "{fields:?}: a loss of {loss} for {want_loss}");
            for (tensor, got) in adapter.params().tensors.iter().zip(&grads) {
                let distance = golden::rel_l2(got, &want[&tensor.name].to_f32());
                assert!(distance <= 1e-4, "{fields:?}: rel-L2 {distance:.2e} at {}", tensor.name);
            }
        }
    }
}

#[test]
fn a_run_has_what_its_model_has() {
    let config = |text: &str| RunConfig::from_json(text).unwrap();
    let model = load(&file(false, GgmlType::F16));
    let mut given = config("{}");
    given.take_model(model.load_in_4bit, model.context.half()).unwrap();
    assert!(given.load_in_4bit);
    config(r#"{"method": "qlora"}"#).take_model(model.load_in_4bit, model.context.half()).unwrap();
    let error = config(r#"{"load_in_4bit": false}"#).take_model(model.load_in_4bit, model.context.half()).unwrap_err();
    assert!(error.to_string().contains("load_in_4bit: it is false, and the model was loaded in 4 bits"), "{error}");
    let plain = models::load(&models::context(), "nano");
    let error = config(r#"{"method": "qlora"}"#).take_model(plain.load_in_4bit, plain.context.half()).unwrap_err();
    assert!(error.to_string().contains("it is true, and the model was loaded as it is in its file"), "{error}");
}

#[test]
fn what_cannot_be_quantized_is_refused_by_name() {
    let refused = |gguf: &Gguf| {
        let outcome = block_on(Model::load_as(&models::context().rehearsal(), gguf, true, |_, _| {}));
        let error: Error = outcome.err().expect("an error");
        assert_eq!(error.code(), "config");
        assert!(!error.help().is_empty());
        error.to_string()
    };
    let error = refused(&file(false, GgmlType::Q8_0));
    assert!(error.contains("blk.0.attn_q.weight is Q8_0 in the file"), "{error}");
    // Rows of 48.
    let nano = tunesmith::format::source::MemorySource::new("nano.gguf", models::nano_gguf());
    let error = refused(&Gguf::open(Box::new(nano)).unwrap());
    assert!(error.contains("blk.0.attn_q.weight has rows of 48"), "{error}");
}
