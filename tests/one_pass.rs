//! One training pass over the small model, for tests that compare how it was computed.

use pollster::block_on;
use tunesmith::data::batch::{Dataset, Layout};
use tunesmith::data::render::Rendered;
use tunesmith::gpu::Context;
use tunesmith::model::Model;
use tunesmith::objective::sft;
use tunesmith::peft;
use tunesmith::settings::config::{Recompute, RunConfig};
use tunesmith::train::Pass;

use crate::golden::hash;

/// Loss and gradients of a pass of 109 tokens in 112 rows, all of them targets, with made-up numbers in every tensor that
/// the config trains.
pub fn one_pass(context: &Context, model: &Model, config: &RunConfig) -> (f32, Vec<f32>) {
    let adapter = block_on(peft::create(model, config)).unwrap();
    for (index, tensor) in adapter.params().tensors.iter().enumerate() {
        adapter.params().write(index, &hash::uniform(&tensor.name, tensor.count(), 0.2));
    }
    let rows = 112;
    let ids = (0..rows as u32 - 3).map(|i| 5 + i % 90).collect();
    let example = Rendered { ids, targets: vec![true; rows - 3], ..Rendered::default() };
    let layout = Layout {
        packing: false,
        per_device_train_batch_size: 1,
        max_length: rows,
        virtual_tokens: 0,
        vocab_size: model.config.vocab,
    };
    let batch = Dataset::new(vec![example], layout).batch(&[0]);
    let pass = Pass::new(model, Some(adapter.as_ref()), batch.size(), Some(Recompute::None)).unwrap();
    pass.run(&batch, &sft::targets(&batch, batch.target_tokens), [7, 3]);
    let loss = block_on(context.read::<f32>(&pass.targets.total, 0, 1)).unwrap()[0];
    (loss, block_on(adapter.params().read_grads()).unwrap().concat())
}
