//! One forward (and backward) pass over T rows, recorded once and replayed.

use crate::Result;
use crate::data::batch::{Batch, Size};
use crate::gpu::{Buffer, Context, KernelTime, Plan, PlanStats};
use crate::model::{Decoder, Hooks, Inputs, Model};
use crate::ops::{Found, Head, Targets};
use crate::peft::{Parameters, Peft};
use crate::tape::Recompute;
use crate::tape::{Tape, Var};

/// A plan for T rows with its inputs and targets.
pub struct Pass {
    context: Context,
    inputs: Inputs,
    /// What the rows must predict, and the losses.
    pub targets: Targets,
    plan: Plan,
    trunk: Option<TrunkPass>,
}

/// The lower blocks as a plan of their own.
struct TrunkPass {
    plan: Plan,
    /// Where the plan leaves the residual stream `[T, C]`, and the other takes it up.
    hidden: Buffer,
}

impl Pass {
    /// Records the pass for batches of this size: with `training`, gradients and dropout, and what it computes again;
    /// without, losses alone.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn new(model: &Model, peft: Option<&dyn Peft>, size: Size, training: Option<Recompute>) -> Result<Self> {
        let targets = model.targets(&model.context, size.targets)?;
        Self::whole(model, peft, size.rows, targets, training)
    }

    /// Records a pass on `rows` rows that makes what the head of the targets says, and no gradient.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn forward(model: &Model, peft: Option<&dyn Peft>, rows: usize, targets: Targets) -> Result<Self> {
        Self::whole(model, peft, rows, targets, None)
    }

    fn whole(
        model: &Model,
        peft: Option<&dyn Peft>,
        rows: usize,
        targets: Targets,
        training: Option<Recompute>,
    ) -> Result<Self> {
        let context = &model.context;
        let inputs = Inputs::new(context, rows)?;
        let params = peft.map(|peft| peft.params());
        let peft = peft.map(|peft| peft as &dyn Hooks);
        let decoder =
            Decoder { model, peft, training: training.is_some(), recompute: training.unwrap_or(Recompute::None) };
        let mut t = Tape::new(context);
        let h = decoder.embed(&mut t, &inputs);
        let h = decoder.blocks(&mut t, &inputs, 0..model.layers.len(), h, None, Some(&targets));
        let plan = end(t, &decoder, h, &targets, params)?;
        Ok(Self { context: context.clone(), inputs, targets, plan, trunk: None })
    }

    /// As [`Pass::new`] for training on `rows` rows, with targets made before: their total may be another pass's, too. With `split`, the
    /// blocks below the first that the method changes are a plan of their own: see [`Pass::run_from`].
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn training(
        model: &Model,
        peft: &dyn Peft,
        rows: usize,
        recompute: Recompute,
        targets: Targets,
        split: bool,
    ) -> Result<Self> {
        let context = &model.context;
        let inputs = Inputs::new(context, rows)?;
        let decoder = Decoder { model, peft: Some(peft), training: true, recompute };
        let first = if split { peft.first_layer() } else { 0 };
        let hidden =
            (first > 0).then(|| context.buffer("trunk", (rows * model.config.hidden * 4) as u64)).transpose()?;
        // The larger plan first: the other finds the arena large enough.
        let mut t = Tape::new(context);
        let h = match &hidden {
            Some(hidden) => t.leaf(rows, model.config.hidden, hidden, None),
            None => decoder.embed(&mut t, &inputs),
        };
        let h = decoder.blocks(&mut t, &inputs, first..model.layers.len(), h, None, Some(&targets));
        let plan = end(t, &decoder, h, &targets, Some(peft.params()))?;
        let trunk = hidden.map(|hidden| -> Result<TrunkPass> {
            let mut t = Tape::new(context);
            let h = decoder.embed(&mut t, &inputs);
            let h = decoder.blocks(&mut t, &inputs, 0..first, h, None, None);
            t.keep(h, &hidden);
            Ok(TrunkPass { plan: t.finish(context)?, hidden })
        });
        let trunk = trunk.transpose()?;
        Ok(Self { context: context.clone(), inputs, targets, plan, trunk })
    }

    /// Uploads a batch of T rows and runs the plan on it: losses and gradients add to what is there.
    /// `targets` are (row, label, weight); `counter` is (seed, micro-step).
    pub fn run(&self, batch: &Batch, targets: &[(u32, u32, f32)], counter: [u32; 2]) -> PlanStats {
        let gates = self.upload(batch, targets, counter);
        let below = self.trunk.as_ref().map(|trunk| trunk.plan.run(0)).unwrap_or_default();
        below + self.plan.run(gates)
    }

    /// As [`Pass::run`], submit by submit; where the lower blocks are a plan of their own, `hidden` `[T, C]` may be what they made
    /// of this batch before, and they do not run again.
    pub async fn run_from(
        &self,
        batch: &Batch,
        targets: &[(u32, u32, f32)],
        counter: [u32; 2],
        hidden: Option<&[f32]>,
    ) -> PlanStats {
        let gates = self.upload(batch, targets, counter);
        self.run_below(hidden).await + self.plan.run_in_turns(gates).await
    }

    /// The first part of a pass whose weights are found by what it makes: as [`Pass::run_from`], up to the measures or the
    /// scores. No other pass runs before [`Pass::finish`].
    pub async fn begin(
        &self,
        batch: &Batch,
        targets: &[(u32, u32, f32)],
        counter: [u32; 2],
        hidden: Option<&[f32]>,
    ) -> PlanStats {
        let gates = self.upload(batch, targets, counter);
        self.run_below(hidden).await + self.plan.run_part_in_turns(0, gates).await
    }

    /// The second part, from there on, with what was found by what the first has made.
    pub async fn finish(&self, found: &Found) -> PlanStats {
        let gates = self.targets.write_found(&self.context, found);
        self.plan.run_part_in_turns(1, gates).await
    }

    /// What the first part made of so many targets, `[targets, 4]` measures or `[targets]` scores; and the values that stand
    /// beside measures, or none.
    ///
    /// # Errors
    /// [`crate::Error::Gpu`] when the device failed.
    pub async fn made(&self, targets: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let context = &self.context;
        Ok(match &self.targets.head {
            Head::Losses => (context.read(&self.targets.nll, 0, targets).await?, Vec::new()),
            Head::Measures { measures, values: None } => (context.read(measures, 0, 4 * targets).await?, Vec::new()),
            Head::Measures { measures, values: Some(values) } => {
                (context.read(measures, 0, 4 * targets).await?, context.read(&values.made, 0, targets).await?)
            }
            Head::Scores(scores) => (context.read(&scores.made, 0, targets).await?, Vec::new()),
        })
    }

    async fn run_below(&self, hidden: Option<&[f32]>) -> PlanStats {
        match (&self.trunk, hidden) {
            (Some(trunk), Some(hidden)) => {
                self.context.write(&trunk.hidden, 0, hidden);
                PlanStats::default()
            }
            (Some(trunk), None) => trunk.plan.run_in_turns(0).await,
            (None, _) => PlanStats::default(),
        }
    }

    /// What the lower blocks made of the last batch, `[T, C]`, where they are a plan of their own.
    pub fn hidden(&self) -> Option<&Buffer> {
        self.trunk.as_ref().map(|trunk| &trunk.hidden)
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
        let mut asks = vec![false; batch.t];
        targets.iter().for_each(|target| asks[target.0 as usize] = true);
        let inputs = &self.inputs;
        for (masks, [keys_of_row, rows_of_key]) in
            [(&inputs.masks, batch.masks(|_| true)), (&inputs.target_masks, batch.masks(|row| asks[row as usize]))]
        {
            context.write(&masks.keys_of_row, 0, &keys_of_row);
            context.write(&masks.rows_of_key, 0, &rows_of_key);
        }
        context.write(&self.inputs.counter, 0, &counter);
        self.targets.write(context, targets)
    }
}

/// Ends a recording in the last norm and the head, and in training walks it back: in a part of its own where the weights
/// are found by what the head makes.
fn end<'a>(
    mut t: Tape<'a>,
    decoder: &Decoder<'a>,
    h: Var,
    targets: &Targets,
    params: Option<&'a Parameters>,
) -> Result<Plan> {
    let mut h = decoder.norm(&mut t, h);
    let value = match &targets.head {
        Head::Measures { values: Some(values), .. } => {
            let head = params.and_then(Parameters::value).expect("a run with values has a value head");
            let value = t.linear(h, head);
            t.keep(value, &values.made);
            Some((value, values))
        }
        _ => None,
    };
    if let Some(scale) = &targets.scale {
        h = t.scale(h, 0, scale);
    }
    let training = decoder.training;
    match &targets.head {
        Head::Losses => t.cross_entropy(h, decoder.head(), targets, training),
        Head::Measures { measures, .. } => {
            t.measure(h, decoder.head(), targets, measures);
            if training {
                t.list.next_part();
                if let Some((value, values)) = value {
                    t.seed_grad(value, &values.grads);
                }
                t.cross_entropy(h, decoder.head(), targets, training);
            }
        }
        Head::Scores(scores) => {
            let head = params.and_then(Parameters::score).expect("a reward model's adapter has a score head");
            let score = t.linear(h, head);
            t.keep(score, &scores.made);
            t.list.next_part();
            t.seed_grad(score, &scores.grads);
        }
    }
    if training {
        t.backward();
    }
    t.finish(&decoder.model.context)
}
