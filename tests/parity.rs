//! Gradients and loss curves of an adapter against those of PyTorch and PEFT.

use std::rc::Rc;

use pollster::block_on;
use tunesmith::data::batch::{Batch, Dataset, Layout};
use tunesmith::data::render::Rendered;
use tunesmith::model::{self, Decoder, Model};
use tunesmith::objective::sft;
use tunesmith::peft::Peft;
use tunesmith::settings::config::{LrScheduler, Recompute, RunConfig};
use tunesmith::tape::Tape;
use tunesmith::train::{Event, Pass, Trainer, penalty};

use crate::golden::{self, Curve, Example, Gradients, Inputs, Summary};

/// The sequences and examples of a model's fixtures.
pub fn inputs(model: &str) -> Inputs {
    match model {
        "pretraining" => golden::json("nano/pretraining/inputs.json"),
        small if small == "nano" || small.starts_with("architectures/") => golden::json("nano/inputs.json"),
        _ => golden::json("inputs.json"),
    }
}

/// The logits after each id from `first` on, all of one forward pass, the head row by row.
pub fn logits(model: &Model, ids: &[u32], first: usize) -> Vec<f32> {
    let context = &model.context;
    let rows = ids.len();
    let vocab = model.config.vocab;
    let device = model::Inputs::new(context, rows).unwrap();
    let row = context.buffer("row", 4).unwrap();
    let logits = context.buffer("logits", vocab as u64 * 4).unwrap();
    let mut t = Tape::new(context);
    let h = Decoder { model, peft: None, training: false, recompute: Recompute::None }.forward(&mut t, &device, None);
    let hidden = context.buffer("hidden", (rows * model.config.hidden * 4) as u64).unwrap();
    let copy = t.leaf(rows, model.config.hidden, &hidden, None);
    t.copy(h, copy);
    let forward = t.finish(context).unwrap();
    let positions: Vec<u32> = (0..rows as u32).collect();
    let keys: Vec<[u32; 2]> = positions.iter().map(|&position| [0, position + 1]).collect();
    context.write(&device.ids, 0, ids);
    context.write(&device.positions, 0, &positions);
    context.write(&device.masks.keys_of_row, 0, &keys);
    forward.run(0);
    let mut t = Tape::new(context);
    let h = t.leaf(rows, model.config.hidden, &hidden, None);
    t.logits(h, model.head(), model.config.logit_cap, &row, 1, &logits);
    let head = t.finish(context).unwrap();
    let mut all = Vec::with_capacity((rows - first) * vocab);
    for index in first as u32..rows as u32 {
        context.write(&row, 0, &[index]);
        head.run(0);
        all.extend(block_on(context.read::<f32>(&logits, 0, vocab)).unwrap());
    }
    context.check().unwrap();
    all
}

/// An example of the fixtures as training takes it.
pub fn rendered(example: &Example) -> Rendered {
    let targets = example.labels.iter().map(|&label| label >= 0).collect();
    Rendered { ids: example.input_ids.clone(), targets, ..Rendered::default() }
}

/// Examples as one batch, not packed.
pub fn batch(model: &Model, examples: &[Rendered], virtual_tokens: usize) -> Batch {
    let longest = examples.iter().map(|example| example.ids.len()).max().unwrap();
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: examples.len(),
        max_length: longest,
        virtual_tokens,
        vocab_size: model.config.vocab,
    };
    Dataset::new(examples.to_vec(), layout).batch(&(0..examples.len()).collect::<Vec<_>>())
}

/// The loss of an example in nats a target, and its gradient to every tensor, in the file's order.
pub fn step(model: &Model, adapter: &dyn Peft, example: &Example) -> (f64, Vec<Vec<f32>>) {
    let context = &model.context;
    let batch = batch(model, &[rendered(example)], adapter.virtual_tokens());
    let pass = Pass::new(model, Some(adapter), batch.size(), Some(Recompute::None)).unwrap();
    context.clear(&adapter.params().grads);
    pass.run(&batch, &sft::targets(&batch, batch.target_tokens), [0, 0]);
    if let Some(penalty) = penalty(adapter, context).unwrap() {
        penalty.run(0);
    }
    let loss = f64::from(block_on(context.read::<f32>(&pass.targets.total, 0, 1)).unwrap()[0]);
    (loss, block_on(adapter.params().read_grads()).unwrap())
}

/// The loss and every gradient of one step on the fixture's example.
///
/// # Panics
/// When a loss is off by more than 1e-5, or a gradient by more than 1e-4.
pub fn gradients(model: &Model, adapter: &dyn Peft, inputs: &Inputs, stem: &str) {
    let (want, summary): (Gradients, _) = (golden::json(&format!("{stem}.json")), Summary::read(stem));
    let (loss, grads) = step(model, adapter, &inputs.step);
    let off = (loss - want.loss).abs() / want.loss;
    println!("{stem}: loss {loss} for {}, off {off:.1e}", want.loss);
    assert!(off <= 1e-5, "{stem}: loss {loss} for {}", want.loss);
    assert_eq!(grads.len(), summary.names().len());
    let tensors = adapter.params().tensors.iter().map(|tensor| tensor.name.as_str());
    let mut distances: Vec<(f64, &str)> =
        tensors.zip(&grads).map(|(name, grad)| (summary.rel_l2(name, grad), name)).collect();
    distances.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (median, worst) = (distances[distances.len() / 2].0, distances[0]);
    println!("{stem}: {} tensors, rel-L2 median {median:.2e}, worst {:.2e} at {}", grads.len(), worst.0, worst.1);
    assert!(worst.0 <= 1e-4, "{stem}: rel-L2 {:.2e} at {}", worst.0, worst.1);
}

/// The losses of the fixture's first steps, within `tolerance`, and where all of them end.
///
/// # Panics
/// When anything is further off.
pub fn curve(
    model: &Rc<Model>,
    adapter: &Rc<dyn Peft>,
    config: &RunConfig,
    inputs: &Inputs,
    stem: &str,
    steps: usize,
    tolerance: f64,
) {
    let want: Curve = golden::json(&format!("{stem}.json"));
    let mut config = config.clone();
    // The order of the fixture is laid out as the data set, so that no shuffle and no epoch is needed.
    let curve = &inputs.curve;
    let examples: Vec<Rendered> = want.order.iter().flatten().map(|&index| rendered(&curve[index])).collect();
    config.learning_rate = want.learning_rate;
    config.weight_decay = want.weight_decay;
    config.max_grad_norm = want.max_grad_norm;
    config.gradient_accumulation_steps = want.gradient_accumulation_steps as u32;
    config.warmup_steps = want.warmup_steps as f64;
    config.max_steps = want.steps as i32;
    config.lr_scheduler_type = match want.lr_scheduler_type.as_str() {
        "constant" => LrScheduler::Constant,
        "cosine" => LrScheduler::Cosine,
        other => panic!("{stem}: {other}"),
    };
    config.shuffle = false;
    let mut trainer = Trainer::new(model.clone(), adapter.clone(), &config, examples, Vec::new()).unwrap();
    let mut events = Vec::new();
    while trainer.steps_done() < steps {
        events.extend(block_on(trainer.step()).unwrap());
    }
    events.extend(block_on(trainer.flush()).unwrap());
    let mut worst = (0.0_f64, 0.0_f64);
    let (mut seen, mut first) = (0, f64::INFINITY);
    for event in events {
        let Event::Step { step, loss, learning_rate, grad_norm, .. } = event else { panic!("{event:?}") };
        let relative = |got: f64, want: f64| (got - want).abs() / want.abs().max(1e-12);
        worst.0 = worst.0.max(relative(loss, want.losses[step - 1]));
        let norm_off = relative(grad_norm.unwrap(), want.grad_norms[step - 1]);
        worst.1 = worst.1.max(norm_off);
        if step == 1 {
            first = norm_off;
        }
        assert!((learning_rate - want.learning_rates[step - 1]).abs() <= 1e-12, "{stem}: rate of step {step}");
        seen += 1;
    }
    assert_eq!(seen, steps);
    println!(
        "{stem}: {steps} steps, worst loss off {:.1e}, gradient norm off {:.1e} (first step {first:.1e})",
        worst.0, worst.1
    );
    assert!(worst.0 <= tolerance, "{stem}: loss off {:.2e}", worst.0);
    // Only at the first step are the parameters the same to the bit; from then on Adam magnifies what rounding does to
    // the smallest gradients, and two correct runs part in their norms before they part in their losses.
    assert!(first <= 1e-4, "{stem}: gradient norm of the first step off {first:.2e}");
    if steps == want.steps {
        let summary = Summary::read(stem);
        let values = block_on(adapter.params().read()).unwrap();
        for (tensor, values) in adapter.params().tensors.iter().zip(&values) {
            let distance = summary.rel_l2(&tensor.name, values);
            assert!(distance <= 1e-2, "{stem}: {} ended {distance:.2e} away", tensor.name);
        }
    }
}
