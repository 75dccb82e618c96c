//! The f64 reference: its derivatives against central differences, and its numbers against PyTorch's.

use tunesmith_tests::golden::hash::{self, VIRTUAL_TOKENS, uniform};
use tunesmith_tests::golden::rows::{permute_rows, unpermute_rows};
use tunesmith_tests::golden::{self, Curve, Example, Gradients, Inputs, LogitRows, Summary, nano};
use tunesmith_tests::reference::{AdamW, Adapter, Batch, Decoder, Lora, Matrix, Module, check_gradient};

/// What f32 leaves of a fixture's f64 numbers, with room for sums in another order.
const ROUNDED: f64 = 3e-7;

const MODULES: [Module; 7] = Module::ALL;

fn heads(module: Module) -> Option<usize> {
    match module {
        Module::QProj => Some(nano::HEADS),
        Module::KProj => Some(nano::KV_HEADS),
        _ => None,
    }
}

fn name(layer: usize, module: Module, matrix: &str) -> String {
    format!("base_model.model.model.layers.{layer}.{}.{matrix}.weight", module.path())
}

/// The names of an adapter's tensors, in the order of [`Adapter::tensors`], and for lora_B of q and k its heads.
fn names(adapter: &Adapter) -> Vec<(String, Option<usize>)> {
    let lora = adapter.lora.keys().flat_map(|&(layer, module)| {
        [(name(layer, module, "lora_A"), None), (name(layer, module, "lora_B"), heads(module))]
    });
    lora.chain(adapter.prompt.iter().map(|_| ("prompt_embeddings".into(), None))).collect()
}

/// LoRA on every linear layer, hash-made: B of amplitude `b`.
fn lora(model: &Decoder, b: f32) -> Adapter {
    let r = nano::LORA_R;
    let site = |layer, module| {
        let (out, width) = model.shape(module);
        let a = hash::lora_init(&name(layer, module, "lora_A"), [r, width], b);
        let b = hash::lora_init(&name(layer, module, "lora_B"), [out, r], b);
        let b = heads(module).map_or_else(|| b.clone(), |heads| permute_rows(&b, heads, r));
        Lora { a: Matrix::from_f32(r, width, &a), b: Matrix::from_f32(out, r, &b), scale: 2.0 }
    };
    let sites = (0..nano::LAYERS).flat_map(|layer| MODULES.map(|module| (layer, module)));
    Adapter { lora: sites.map(|(layer, module)| ((layer, module), site(layer, module))).collect(), prompt: None }
}

fn prompt() -> Adapter {
    let values = hash::prompt_init(nano::CHANNELS);
    Adapter { prompt: Some(Matrix::from_f32(VIRTUAL_TOKENS, nano::CHANNELS, &values)), ..Adapter::default() }
}

fn batch(example: &Example, adapter: &Adapter, weight: f64) -> Batch {
    let virtual_tokens = adapter.prompt.as_ref().map_or(0, |prompt| prompt.rows);
    Batch::example(&example.input_ids, &example.labels, virtual_tokens, nano::VOCAB, weight)
}

fn targets(example: &Example) -> usize {
    example.labels.iter().skip(1).filter(|label| **label >= 0).count()
}

fn inputs() -> Inputs {
    golden::json("nano/inputs.json")
}

fn relative(got: f64, want: f64) -> f64 {
    ((got - want) / want).abs()
}

/// Compares every tensor with a fixture.
fn compare(golden: &str, got: &Adapter, tolerance: f64) {
    let golden = Summary::read(golden);
    let names = names(got);
    assert_eq!(golden.names().len(), names.len());
    for ((name, heads), tensor) in names.iter().zip(got.tensors()) {
        let values = tensor.to_f32();
        let values = heads.map_or_else(|| values.clone(), |heads| unpermute_rows(&values, heads, tensor.cols));
        let off = golden.rel_l2(name, &values);
        assert!(off < tolerance, "{name}: {off:e}");
    }
}

#[test]
fn logits_are_those_of_pytorch() {
    let model = Decoder::nano();
    for (s, sequence) in inputs().logits.iter().enumerate() {
        let logits = model.logits(&Adapter::default(), &Batch::segment(&sequence.input_ids, 0, nano::VOCAB)).to_f32();
        let off = LogitRows::read("nano", s).rel_l2(&logits);
        let (_, whole) = golden::Tensors::read("nano/logits.safetensors").f32(&format!("{s}.logits"));
        let exact = golden::rel_l2(&logits, &whole);
        assert!(off < ROUNDED && exact < ROUNDED, "sequence {s}: {off:e}, {exact:e}");
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    let (model, step) = (Decoder::nano(), inputs().step);
    for (method, adapter) in [("lora", lora(&model, hash::LORA_B)), ("prompt", prompt())] {
        let want: Gradients = golden::json(&format!("nano/{method}_gradients.json"));
        assert_eq!(targets(&step), want.target_tokens);
        let (loss, gradient) = model.gradients(&adapter, &batch(&step, &adapter, 1.0 / want.target_tokens as f64));
        assert!(relative(loss, want.loss) < ROUNDED, "{method}: a loss of {loss}, not {}", want.loss);
        let norm = gradient.flat().iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(relative(norm, want.grad_norm) < ROUNDED, "{method}: a norm of {norm}, not {}", want.grad_norm);
        compare(&format!("nano/{method}_gradients"), &gradient, ROUNDED);
    }
}

#[test]
fn gradients_are_those_of_central_differences() {
    let (model, step) = (Decoder::nano(), inputs().step);
    let mut adapter = lora(&model, 0.3);
    adapter.prompt = prompt().prompt;
    // A short segment, whose first nine tokens are no targets, and weights that differ.
    let mut batch =
        batch(&Example { input_ids: step.input_ids[..13].into(), labels: step.labels[..13].into() }, &adapter, 0.2);
    batch
        .targets
        .iter_mut()
        .zip(uniform("reference.weights", 9, 1.0))
        .for_each(|(t, w)| t.weight += f64::from(w) / 9.0);
    let (_, gradient) = model.gradients(&adapter, &batch);
    let names = names(&adapter);
    for (index, (name, _)) in names.iter().enumerate() {
        let tensor = adapter.tensors().nth(index).expect("as many names as tensors");
        let analytic = gradient.tensors().nth(index).expect("a gradient has its adapter's shape");
        assert!(analytic.data.iter().any(|g| *g != 0.0), "{name} has no gradient");
        check_gradient(name, tensor, analytic, 3, |moved| {
            let mut adapter = adapter.clone();
            *adapter.tensors_mut().nth(index).expect("as before") = moved.clone();
            model.loss(&adapter, &batch)
        });
    }
}

#[test]
fn curves_are_those_of_pytorch() {
    let (model, examples) = (Decoder::nano(), inputs().curve);
    for (stem, mut adapter) in [
        ("lora_curve", lora(&model, 0.0)),
        ("lora_decay_curve", lora(&model, 0.0)),
        ("lora_cosine_curve", lora(&model, 0.0)),
        ("prompt_curve", prompt()),
    ] {
        let want: Curve = golden::json(&format!("nano/{stem}.json"));
        let mut optimizer = AdamW::new(adapter.flat().len(), want.weight_decay, want.max_grad_norm);
        for (step, order) in want.order.iter().enumerate() {
            let all: usize = order.iter().map(|&example| targets(&examples[example])).sum();
            let mut gradients = vec![0.0; adapter.flat().len()];
            let mut loss = 0.0;
            for &example in order {
                let batch = batch(&examples[example], &adapter, 1.0 / all as f64);
                let (part, gradient) = model.gradients(&adapter, &batch);
                gradients.iter_mut().zip(gradient.flat()).for_each(|(sum, g)| *sum += g);
                loss += part;
            }
            assert!(relative(loss, want.losses[step]) < 1e-6, "{stem}, step {step}: {loss}, not {}", want.losses[step]);
            let mut values = adapter.flat();
            let norm = optimizer.step(&mut values, &gradients, want.learning_rates[step]);
            assert!(relative(norm, want.grad_norms[step]) < 1e-5, "{stem}, step {step}: a norm of {norm}");
            adapter.set_flat(&values);
        }
        compare(&format!("nano/{stem}"), &adapter, 1e-4);
    }
}
