//! A run between two steps, to files and back: a resumed run goes on as if it had never stopped, to the bit.
//!
//! A checkpoint is the adapter's own folder with two files more: the parameters and the optimizer's moments, under the
//! parameters' names with PyTorch's `exp_avg.` and `exp_avg_sq.` before them, and the place in the run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::event::BestEvaluation;
use super::rollouts::Rolled;
use super::trainer::Trainer;
use crate::gpu::Buffer;
use crate::peft::io::{self, File, Floats};
use crate::peft::stream::{StreamedFile, Values};
use crate::{Error, Result};

/// The moments' file name.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The file name of the parameters at the best evaluation, in a run that keeps them.
pub const BEST: &str = "best.safetensors";
/// The file name of the place in the run.
pub const PROGRESS: &str = "progress.json";

/// The place in a run.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Steps done.
    step: usize,
    /// Micro-batches done: the counter of dropout.
    micro_step: u32,
    /// Epochs begun.
    epoch: u64,
    /// The examples of each batch that is still to come in the epoch.
    queue: Vec<Vec<usize>>,
    /// Steps skipped in a row.
    skips: usize,
    /// The last step's loss.
    loss: Option<f64>,
    /// Tokens worked on, where an objective measures them.
    #[serde(default)]
    num_tokens: u64,
    /// Sum and number of the losses since the last report. Checkpoints of earlier versions have none.
    #[serde(default)]
    unreported: (f64, usize),
    /// In reinforcement, how often answers were written, and those that are still to be learnt from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rollouts: Option<(u64, Vec<Rolled>)>,
    /// The best evaluation, in a run that looks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<BestEvaluation>,
    /// Hash of what the run works on: the model's shape and the examples.
    fingerprint: String,
    /// Hash of the model's weights. Checkpoints of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<String>,
    /// The settings that decide the run's numbers; nor had they this, or had a hash of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<Value>,
}

impl Trainer {
    /// The files of a checkpoint, the adapter's among them. What is on the device is read while they are written.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device failed.
    ///
    /// # Panics
    /// With steps on their way: call [`Trainer::flush`] first.
    pub async fn checkpoint(&self) -> Result<Vec<StreamedFile<'_>>> {
        assert!(self.pending.is_empty(), "a checkpoint holds no step that is on its way");
        let params = self.peft.params();
        let progress = Progress {
            step: self.step,
            micro_step: self.micro_step,
            epoch: self.epoch,
            queue: self.queue.iter().cloned().collect(),
            skips: self.skips,
            loss: self.last_loss.is_finite().then_some(self.last_loss),
            num_tokens: self.num_tokens,
            unreported: self.unreported,
            rollouts: self.rollouts.as_ref().map(|rollouts| {
                (rollouts.generations, if self.queue.is_empty() { Vec::new() } else { rollouts.rolled.clone() })
            }),
            best: self.best(),
            fingerprint: self.fingerprint(),
            weights: Some(self.model.hash.clone()),
            settings: Some(self.settings().into()),
        };
        let mut files = io::files(self.peft.as_ref(), &self.model, Some(&self.config)).await?;
        let mut state = Vec::new();
        for (kind, buffers) in self.state() {
            let tensors = (0..).zip(&params.tensors);
            state.extend(
                tensors.map(|(index, of)| {
                    (format!("{kind}{}", of.name), of.shape.clone(), Values::Device(buffers, index))
                }),
            );
        }
        files.push(StreamedFile::tensors(OPTIMIZER, params, state)?);
        if let Some(values) = self.best.as_ref().and_then(|best| best.values.as_ref()) {
            let tensors = params.tensors.iter().zip(values);
            let tensors = tensors.map(|(of, values)| (of.name.clone(), of.shape.clone(), Values::Host(values.into())));
            files.push(StreamedFile::tensors(BEST, params, tensors.collect())?);
        }
        let progress = serde_json::to_vec_pretty(&progress).expect("plain values");
        files.push(File { name: PROGRESS, bytes: progress }.into());
        Ok(files)
    }

    /// Goes on where a checkpoint of the same run stopped. `file` gives the bytes of a file of the folder, by name.
    ///
    /// # Errors
    /// What `file` fails with; [`Error::Adapter`] for files that are damaged or of another run. Nothing is changed
    /// then.
    pub fn resume<'a>(&mut self, folder: &str, file: impl Fn(&str) -> Result<&'a [u8]>) -> Result<()> {
        let wrong = |name: &str, what: String, help: &str| Error::Adapter {
            file: format!("{folder}/{name}"),
            what,
            help: help.into(),
        };
        let again = "remove this checkpoint: the run then goes on from the one before";
        let progress: Progress = serde_json::from_slice(file(PROGRESS)?)
            .map_err(|error| wrong(PROGRESS, format!("not a place in a run: {error}"), again))?;
        if progress.fingerprint != self.fingerprint() {
            let what = "this checkpoint belongs to another model, other examples or other settings for them";
            let help = "give the model and the data that the run began with, or begin a new run from its adapter";
            return Err(wrong(PROGRESS, what.into(), help));
        }
        if progress.weights.as_ref().is_some_and(|weights| *weights != self.model.hash) {
            let what = "this checkpoint belongs to a model of the same shape with other weights";
            return Err(wrong(PROGRESS, what.into(), "give the file of the model that the run began with"));
        }
        if let Some(Value::Object(before)) = &progress.settings {
            let now = self.settings();
            // A setting that came later has the value that runs had without it.
            let differs = before.iter().find(|(name, was)| now.get(*name).is_some_and(|is| is != *was));
            if let Some((name, was)) = differs {
                let is = &now[name];
                let what =
                    format!("the run's settings are not those of this checkpoint: {name} is {is}, and was {was}");
                return Err(wrong(PROGRESS, what, "put run.json back as it was, or begin a new run from its adapter"));
            }
        }
        let generation = match (&self.rollouts, &progress.rollouts) {
            (Some(_), Some((_, rolled))) => Some(self.dataset.with(rolled.iter().map(Rolled::rendered).collect())),
            _ => None,
        };
        let dataset = generation.as_ref().unwrap_or(&self.dataset);
        let whole = if progress.epoch == 0 { Vec::new() } else { self.batches_of(dataset, progress.epoch - 1) };
        if progress.step > self.steps || !whole.ends_with(&progress.queue) {
            return Err(wrong(
                PROGRESS,
                "the examples that it has still to learn are none of this run's".into(),
                again,
            ));
        }
        let params = self.peft.params();
        let (kinds, buffers): (Vec<_>, Vec<_>) = self.state().into_iter().unzip();
        let all: Vec<_> = params.tensors.iter().collect();
        let state = io::tensors(&all, &format!("{folder}/{OPTIMIZER}"), file(OPTIMIZER)?, &kinds)?;
        let mut best_values = None;
        if progress.best.is_some() && self.config.load_best_model_at_end {
            let best = io::tensors(&all, &format!("{folder}/{BEST}"), file(BEST)?, &[""])?;
            best_values = best.first().map(|tensors| tensors.iter().map(Floats::values).collect());
        }
        for (buffers, tensors) in buffers.into_iter().zip(&state) {
            for (index, tensor) in tensors.iter().enumerate() {
                params.write_to(buffers, index, &tensor.values());
            }
        }
        if let (Some(rollouts), Some((generations, rolled))) = (&mut self.rollouts, progress.rollouts) {
            (rollouts.generations, rollouts.rolled) = (generations, rolled);
            self.take_rollouts();
        }
        if let Some(best) = &mut self.best {
            best.restore(progress.best, best_values);
        }
        self.step = progress.step;
        self.micro_step = progress.micro_step;
        self.epoch = progress.epoch;
        self.queue = progress.queue.into();
        self.skips = progress.skips;
        self.num_tokens = progress.num_tokens;
        self.last_loss = progress.loss.unwrap_or(f64::NAN);
        self.unreported = progress.unreported;
        self.optimizer.updates = progress.step as u32;
        Ok(())
    }

    /// The parameters, their moments and what else the method needs, each with the prefix of its names.
    fn state(&self) -> Vec<(&'static str, &[Buffer])> {
        let (m, v) = self.optimizer.moments();
        let mut state = vec![("", &self.peft.params().values[..]), ("exp_avg.", m), ("exp_avg_sq.", v)];
        state.extend(self.peft.state());
        state
    }

    /// The settings without those that leave every number as it is: another device may have chosen them otherwise.
    fn settings(&self) -> Map<String, Value> {
        const FREE: [&str; 7] =
            ["recompute", "trunk_cache", "memory_limit", "logging_steps", "samples", "save_steps", "save_total_limit"];
        let mut settings = self.config.to_json().as_object().cloned().unwrap_or_default();
        settings.retain(|name, _| !FREE.contains(&name.as_str()));
        settings
    }

    fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        let model = serde_json::to_vec(&(&self.model.config, &self.model.quantization, self.model.parameters));
        hash.update(model.expect("plain values"));
        if let Some(rollouts) = &self.rollouts {
            rollouts.hash(&mut hash);
            return hex(&hash.finalize());
        }
        for example in self.dataset.examples() {
            hash.update((example.ids.len() as u64).to_le_bytes());
            for (id, target) in example.ids.iter().zip(&example.targets) {
                hash.update((id << 1 | u32::from(*target)).to_le_bytes());
            }
            if let Some(label) = example.label {
                hash.update([u8::from(label)]);
            }
            if example.margin != 0.0 {
                hash.update(example.margin.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }
}

/// A hash as it is written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
