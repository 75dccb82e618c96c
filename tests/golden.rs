//! The golden fixtures of `tests/golden/`: their loaders and how a result is compared with them. The formulas and
//! layouts are stated in `tests/golden/README.md`.

pub mod architectures;
pub mod hash;
pub mod methods;
pub mod nano;
pub mod rows;

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use hash::{PROJECTIONS, project};

// ---- comparison ----

/// The L2 norm, summed in f64.
pub fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// |got - want| / |want|; the norm of `got` where `want` is all zero; infinite where anything is not finite.
pub fn rel_l2(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "rel_l2 compares tensors of one size");
    let off = got.iter().zip(want).map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2)).sum::<f64>().sqrt();
    relative(off, norm(want))
}

/// The relative L2 distance estimated from projections: E[(r·d)²] = |d|². With 16 of them the estimate's relative
/// standard deviation is 18%.
pub fn rel_l2_projected(got: &[f64; PROJECTIONS], want: &[f32], want_norm: f32) -> f64 {
    assert_eq!(want.len(), PROJECTIONS, "a tensor has {PROJECTIONS} projections");
    let square = got.iter().zip(want).map(|(g, &w)| (g - f64::from(w)).powi(2)).sum::<f64>();
    relative((square / PROJECTIONS as f64).sqrt(), f64::from(want_norm))
}

/// off / size, which is `off` for a size of zero and never NaN.
fn relative(off: f64, size: f64) -> f64 {
    let ratio = if size > 0.0 { off / size } else { off };
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

// ---- files ----

/// The path of a fixture: `path("full/logits.safetensors")`.
pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(file)
}

/// A JSON fixture.
pub fn json<T: DeserializeOwned>(file: &str) -> T {
    let text = std::fs::read_to_string(path(file)).unwrap_or_else(|e| panic!("golden/{file}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("golden/{file}: {e}"))
}

/// A safetensors fixture.
pub struct Tensors {
    file: String,
    bytes: Vec<u8>,
}

impl Tensors {
    /// Reads the file.
    pub fn read(file: &str) -> Self {
        let bytes = std::fs::read(path(file)).unwrap_or_else(|e| panic!("golden/{file}: {e}"));
        Self { file: file.into(), bytes }
    }

    /// The names in the file, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.parse().names().into_iter().map(String::from).collect();
        names.sort();
        names
    }

    /// The bytes of a u8 tensor.
    pub fn u8(&self, name: &str) -> Vec<u8> {
        let file = self.parse();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("golden/{}: {name}: {e}", self.file));
        assert_eq!(view.dtype(), Dtype::U8, "golden/{}: {name}", self.file);
        view.data().to_vec()
    }

    /// Shape and values of an f32 tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.tensor(name, Dtype::F32);
        (shape, bytes.into_iter().map(f32::from_le_bytes).collect())
    }

    /// Shape and values of an i32 tensor.
    pub fn i32(&self, name: &str) -> (Vec<usize>, Vec<i32>) {
        let (shape, bytes) = self.tensor(name, Dtype::I32);
        (shape, bytes.into_iter().map(i32::from_le_bytes).collect())
    }

    fn parse(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap_or_else(|e| panic!("golden/{}: {e}", self.file))
    }

    fn tensor(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<[u8; 4]>) {
        let file = self.parse();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("golden/{}: {name}: {e}", self.file));
        assert_eq!(view.dtype(), dtype, "golden/{}: {name}", self.file);
        (view.shape().to_vec(), view.data().as_chunks::<4>().0.to_vec())
    }
}

/// Token ids to run forward.
#[derive(Debug, Clone, Deserialize)]
pub struct Sequence {
    /// The ids, `[T]`.
    pub input_ids: Vec<u32>,
}

/// Token ids and labels to train on.
#[derive(Debug, Clone, Deserialize)]
pub struct Example {
    /// The ids, `[T]`.
    pub input_ids: Vec<u32>,
    /// `input_ids[t]` where t is a target, else -100: not shifted.
    pub labels: Vec<i32>,
}

/// What the numeric fixtures were computed on: `inputs.json` (cut, full), `nano/inputs.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Inputs {
    /// The sequences of `logits.safetensors`.
    pub logits: Vec<Sequence>,
    /// The example of the gradients.
    pub step: Example,
    /// The examples of the curves; `Curve::order` indexes them.
    pub curve: Vec<Example>,
}

/// Norm, projections and first values of many tensors, in PEFT's names and layout: `NAME.json` and
/// `NAME.safetensors`.
pub struct Summary {
    names: Vec<String>,
    tensors: Tensors,
    norms: Vec<f32>,
    projections: Vec<f32>,
    first: Vec<f32>,
}

impl Summary {
    /// Reads the pair of files: `Summary::read("full/lora_gradients")`.
    pub fn read(stem: &str) -> Self {
        #[derive(Deserialize)]
        struct Names {
            names: Vec<String>,
        }
        let names = json::<Names>(&format!("{stem}.json")).names;
        let tensors = Tensors::read(&format!("{stem}.safetensors"));
        let (shape, projections) = tensors.f32("projections");
        assert_eq!(shape, [names.len(), PROJECTIONS], "golden/{stem}: projections");
        let (norms, first) = (tensors.f32("norm").1, tensors.f32("first").1);
        Self { names, tensors, norms, projections, first }
    }

    /// The tensors' names, in the fixture's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The L2 norm of a tensor.
    pub fn norm(&self, name: &str) -> f32 {
        self.norms[self.index(name)]
    }

    /// The first 8 values of a tensor.
    pub fn first(&self, name: &str) -> &[f32] {
        self.first.chunks_exact(self.first.len() / self.names.len()).nth(self.index(name)).expect("one row a name")
    }

    /// The relative L2 distance of `got` (PEFT's layout, flattened) from the fixture: exact where the fixture keeps
    /// the tensor whole, else estimated from its projections.
    pub fn rel_l2(&self, name: &str, got: &[f32]) -> f64 {
        if let Some(whole) = self.whole(name) {
            return rel_l2(got, &whole);
        }
        let at = self.index(name);
        let want = &self.projections[at * PROJECTIONS..][..PROJECTIONS];
        rel_l2_projected(&project(got), want, self.norms[at])
    }

    /// The whole tensor, flattened, where the fixture keeps it.
    pub fn whole(&self, name: &str) -> Option<Vec<f32>> {
        self.tensors.names().iter().any(|n| n == name).then(|| self.tensors.f32(name).1)
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|n| n == name).unwrap_or_else(|| panic!("golden: there is no tensor {name}"))
    }
}

/// Loss and gradients of one example: `{nano,cut,full}/{lora,prompt}_gradients.json`, `nano/methods/*/gradients.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Gradients {
    /// Nats per target token.
    pub loss: f64,
    /// The norm over all gradients.
    pub grad_norm: f64,
    /// The number of targets.
    pub target_tokens: usize,
    /// What AdaLoRA adds to the loss; the gradients have it in them.
    #[serde(default)]
    pub penalty: f64,
}

/// A training run: `{nano,cut,full}/*_curve.json`, `nano/methods/*/curve.json`. The final parameters are the [`Summary`]
/// of the same stem.
#[derive(Debug, Clone, Deserialize)]
pub struct Curve {
    /// Number of optimizer steps.
    pub steps: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Micro-batches (of one example) a step.
    pub gradient_accumulation_steps: usize,
    /// The clip's norm.
    pub max_grad_norm: f64,
    /// "constant" or "cosine".
    pub lr_scheduler_type: String,
    /// Warm-up steps; the first step's rate is then 0.
    pub warmup_steps: usize,
    /// For each step, the indices into [`Inputs::curve`].
    pub order: Vec<Vec<usize>>,
    /// Before each step's update, nats per target token.
    pub losses: Vec<f64>,
    /// Before clipping.
    pub grad_norms: Vec<f64>,
    /// The rate each step used.
    pub learning_rates: Vec<f64>,
}

/// A greedy answer: `full/generation.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    /// The user's message.
    pub prompt: String,
    /// The rendered conversation, with the generation prompt.
    pub rendered: String,
    /// Its ids.
    pub prompt_ids: Vec<u32>,
    /// At most 64 ids, the end of turn included when it came.
    pub generated_ids: Vec<u32>,
    /// The decoded answer, without the end of turn.
    pub text: String,
    /// Largest minus second largest logit at each generated id.
    pub margins: Vec<f32>,
}

/// A chat message.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// The text.
    pub content: String,
}

/// A rendered and tokenized conversation: `text.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
    /// The template's output, without a generation prompt.
    pub text: String,
    /// The ids of `text`.
    pub input_ids: Vec<u32>,
    /// 1 at the ids of the assistant's replies and their end of turn, else 0.
    pub assistant_mask: Vec<u8>,
}

/// The summary of the logits of one sequence: one row a token.
pub struct LogitRows {
    /// The vocabulary ids that `sample` holds, `[64]`.
    pub vocab_ids: Vec<i32>,
    /// The arg max of each row, `[T]`.
    pub argmax: Vec<i32>,
    /// Largest minus second largest logit of each row, `[T]`.
    pub margin: Vec<f32>,
    /// Log-sum-exp of each row, `[T]`.
    pub logsumexp: Vec<f32>,
    /// The logits at `vocab_ids`, [T, 64].
    pub sample: Vec<f32>,
    norm: Vec<f32>,
    projections: Vec<f32>,
}

impl LogitRows {
    /// Sequence `s` of `nano`, `cut` or `full`.
    pub fn read(model: &str, s: usize) -> Self {
        let file = Tensors::read(&format!("{model}/logits.safetensors"));
        let part = |name: &str| file.f32(&format!("{s}.{name}")).1;
        Self {
            vocab_ids: file.i32("vocab_ids").1,
            argmax: file.i32(&format!("{s}.argmax")).1,
            margin: part("margin"),
            logsumexp: part("logsumexp"),
            sample: part("sample"),
            norm: part("norm"),
            projections: part("projections"),
        }
    }

    /// The relative L2 distance of a whole [T, V] from the fixture's, estimated from the projections of its rows, and
    /// over the sampled logits exactly: the larger of the two.
    pub fn rel_l2(&self, rows: &[f32]) -> f64 {
        let vocab = rows.len() / self.norm.len();
        assert_eq!(rows.len(), vocab * self.norm.len(), "the logits are [T, V]");
        let (mut off, mut size) = (0.0, 0.0);
        for (t, row) in rows.chunks_exact(vocab).enumerate() {
            let want_norm = f64::from(self.norm[t]);
            let want = &self.projections[t * PROJECTIONS..][..PROJECTIONS];
            off += (rel_l2_projected(&project(row), want, self.norm[t]) * want_norm).powi(2);
            size += want_norm.powi(2);
        }
        let sampled: Vec<f32> =
            rows.chunks_exact(vocab).flat_map(|row| self.vocab_ids.iter().map(|&v| row[v as usize])).collect();
        relative(off.sqrt(), size.sqrt()).max(rel_l2(&sampled, &self.sample))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_distance_is_never_nan() {
        assert_eq!(rel_l2(&[3.0, 4.0], &[3.0, 0.0]), 4.0 / 3.0);
        assert_eq!(rel_l2(&[0.5, 0.0], &[0.0, 0.0]), 0.5);
        assert_eq!(rel_l2(&[f32::NAN], &[1.0]), f64::INFINITY);
    }

    #[test]
    fn projections_estimate_the_distance_of_whole_gradients() {
        let golden = Summary::read("nano/lora_gradients");
        for name in golden.names() {
            let want = golden.whole(name).expect("the nano fixtures keep gradients whole");
            let off = hash::uniform("noise", want.len(), 1e-3 * golden.norm(name));
            let got: Vec<f32> = want.iter().zip(&off).map(|(w, o)| w + o).collect();
            let exact = rel_l2(&got, &want);
            let at = golden.index(name);
            let estimate = rel_l2_projected(
                &project(&got),
                &golden.projections[at * PROJECTIONS..][..PROJECTIONS],
                golden.norm(name),
            );
            assert!((0.4..2.0).contains(&(estimate / exact)), "{name}: {estimate} for {exact}");
            assert!(golden.rel_l2(name, &want) == 0.0, "{name}");
        }
    }

    #[test]
    fn logit_rows_agree_with_the_whole_logits() {
        let (shape, mut logits) = Tensors::read("nano/logits.safetensors").f32("0.logits");
        assert_eq!(shape, [37, nano::VOCAB]);
        let rows = LogitRows::read("nano", 0);
        assert!(rows.rel_l2(&logits) < 1e-6);
        logits[5 * nano::VOCAB] += 1.0;
        assert!(rows.rel_l2(&logits) > 1e-4);
    }

    #[test]
    fn every_fixture_is_there_and_consistent() {
        let conversations: Vec<Conversation> = json("text.json");
        assert!(conversations.iter().all(|c| c.input_ids.len() == c.assistant_mask.len()));
        let answers: Vec<Answer> = json("full/generation.json");
        assert!(answers.iter().all(|a| a.generated_ids.len() == a.margins.len()));
        assert_eq!(answers.iter().filter(|a| a.generated_ids.len() == 64).count(), 5);
        for (model, layers) in [("nano", 2), ("cut", 2), ("full", 30)] {
            let inputs: Inputs = json(if model == "nano" { "nano/inputs.json" } else { "inputs.json" });
            for (s, sequence) in inputs.logits.iter().enumerate() {
                assert_eq!(LogitRows::read(model, s).argmax.len(), sequence.input_ids.len());
            }
            for (method, tensors) in [("lora", layers * 14), ("prompt", 1)] {
                let gradients: Gradients = json(&format!("{model}/{method}_gradients.json"));
                assert!(gradients.loss > 0.0 && gradients.grad_norm > 0.0);
                assert_eq!(Summary::read(&format!("{model}/{method}_gradients")).names().len(), tensors);
                let curve: Curve = json(&format!("{model}/{method}_curve.json"));
                assert_eq!((curve.steps, curve.losses.len(), curve.order.len()), (20, 20, 20));
                assert_eq!(Summary::read(&format!("{model}/{method}_curve")).names().len(), tensors);
            }
        }
    }
}
