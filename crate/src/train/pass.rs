//! One forward (and backward) pass over T rows, recorded once and replayed.

use crate::Result;
use crate::data::batch::Batch;
use crate::gpu::{Context, KernelTime, Plan, PlanStats};
use crate::model::{Decoder, Inputs, Model};
use crate::ops::Targets;
use crate::peft::Peft;
use crate::tape::Tape;
use crate::train::config::Recompute;

/// A plan for T rows with its inputs and targets.
pub struct Pass {
    context: Context,
    inputs: Inputs,
    /// What the rows must predict, and the losses.
    pub targets: Targets,
    plan: Plan,
}

impl Pass {
    /// Records the pass for `rows` rows: with `training`, gradients and dropout, and what it computes again; without,
    /// losses alone.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn new(model: &Model, peft: Option<&dyn Peft>, rows: usize, training: Option<Recompute>) -> Result<Self> {
        Self::adding_to(model, peft, rows, training, Targets::new(&model.context, rows)?)
    }

    /// As [`Pass::new`], with targets made before: their total may be another pass's, too.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn adding_to(
        model: &Model,
        peft: Option<&dyn Peft>,
        rows: usize,
        training: Option<Recompute>,
        targets: Targets,
    ) -> Result<Self> {
        let context = &model.context;
        let inputs = Inputs::new(context, rows)?;
        let mut t = Tape::new(context);
        let recompute = training.unwrap_or(Recompute::None);
        let h = Decoder { model, peft, training: training.is_some(), recompute }.forward(&mut t, &inputs, None);
        t.cross_entropy(h, model.head(), &targets, training.is_some());
        if training.is_some() {
            t.backward();
        }
        let plan = t.finish(context)?;
        Ok(Self { context: context.clone(), inputs, targets, plan })
    }

    /// Uploads a batch of T rows and runs the plan on it: losses and gradients add to what is there.
    /// `targets` are (row, label, weight); `counter` is (seed, micro-step).
    pub fn run(&self, batch: &Batch, targets: &[(u32, u32, f32)], counter: [u32; 2]) -> PlanStats {
        let gates = self.upload(batch, targets, counter);
        self.plan.run(gates)
    }

    /// What the pass needs, before any run.
    pub fn stats(&self) -> PlanStats {
        self.plan.stats()
    }

    /// As [`Pass::run`], one dispatch after the other, each of them timed.
    ///
    /// # Errors
    /// As [`Plan::profile`].
    pub async fn profile(
        &self,
        batch: &Batch,
        targets: &[(u32, u32, f32)],
        counter: [u32; 2],
    ) -> Result<Vec<KernelTime>> {
        let gates = self.upload(batch, targets, counter);
        self.plan.profile(gates).await
    }

    /// Returns the gates to open.
    fn upload(&self, batch: &Batch, targets: &[(u32, u32, f32)], counter: [u32; 2]) -> usize {
        let context = &self.context;
        context.write(&self.inputs.ids, 0, &batch.ids);
        context.write(&self.inputs.positions, 0, &batch.positions);
        let rows = 0..batch.t as u32;
        let keys: Vec<[u32; 2]> =
            rows.clone().zip(&batch.segment_start).map(|(row, &start)| [start, row + 1]).collect();
        let queries: Vec<[u32; 2]> = rows.zip(&batch.segment_end).map(|(row, &end)| [row, end]).collect();
        context.write(&self.inputs.masks.keys_of_row, 0, &keys);
        context.write(&self.inputs.masks.rows_of_key, 0, &queries);
        context.write(&self.inputs.counter, 0, &counter);
        self.targets.write(context, targets)
    }
}
