//! Products in half precision, where the adapter has matrix units for it; where it has none, that is said.

use pollster::block_on;
use tunesmith::Error;
use tunesmith::data::batch::{Dataset, Layout};
use tunesmith::data::render::Rendered;
use tunesmith::gpu::{Context, Features};
use tunesmith::objective::sft;
use tunesmith::peft;
use tunesmith::train::Pass;
use tunesmith::train::config::{Method, Recompute, RunConfig};
use tunesmith_tests::golden::hash;
use tunesmith_tests::models;

/// Loss and gradients of one pass over the small model, with every linear layer's adapter.
fn pass(context: &Context) -> (f32, Vec<f32>) {
    let model = models::load(context, "nano");
    let mut config = RunConfig::new(Method::Lora);
    config.set("target_modules", "all-linear").unwrap();
    let adapter = block_on(peft::create(&model, &config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        adapter.params().write(index, &hash::uniform(&tensor.name, tensor.count(), 0.2));
    }
    let rows = 112;
    let ids = (0..rows as u32 - 3).map(|i| 5 + i % 90).collect();
    let example = Rendered { ids, targets: vec![true; rows - 3], truncated: false };
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: 1,
        max_length: rows,
        virtual_tokens: 0,
        vocab_size: model.config.vocab,
    };
    let batch = Dataset::new(vec![example], layout).batch(&[0]);
    let pass = Pass::new(&model, Some(adapter.as_ref()), batch.size(), Some(Recompute::None)).unwrap();
    pass.run(&batch, &sft::targets(&batch, batch.target_tokens), [7, 3]);
    let loss = block_on(context.read::<f32>(&pass.targets.total, 0, 1)).unwrap()[0];
    (loss, block_on(adapter.params().read_grads()).unwrap().concat())
}

#[test]
fn halves_are_near_or_refused() {
    let half = match block_on(Context::with(Features::Half)) {
        Ok(context) => context,
        Err(Error::Config { field, what, help }) => {
            assert_eq!(field, "fp16");
            assert!(what.contains("matrix units") && help.contains("leave it out"), "{what}; {help}");
            return;
        }
        Err(other) => panic!("{other}"),
    };
    let exact = block_on(Context::new()).unwrap();
    assert!(half.half() && !exact.half());
    let ((loss, gradients), (expected, exact)) = (pass(&half), pass(&exact));
    // A half has 11 bits: products are off by one part in some thousand, and sums by less.
    assert!((loss / expected - 1.0).abs() < 1e-3, "{loss}, and {expected} in f32");
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let off = square(&mut gradients.iter().zip(&exact).map(|(a, b)| a - b)) / square(&mut exact.iter().copied());
    assert!(off > 0.0, "no product was made in halves");
    assert!(off.sqrt() < 1e-2, "gradients are off by {}", off.sqrt());
}
