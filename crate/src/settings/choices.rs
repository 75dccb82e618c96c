//! What the fields of a run may be, where each of a few names is a choice.

use serde_json::Value;

use super::field::{FieldValue, Input, choice};
use crate::tape::Recompute;

choice! {
    /// How the learning rate goes, after warm-up.
    LrScheduler, "constant, linear or cosine" {
        /// Stays.
        Constant = "constant",
        /// Falls to 0 in a line.
        Linear = "linear",
        /// Falls to 0 along half a cosine.
        Cosine = "cosine",
    }
}

choice! {
    /// What virtual tokens start as.
    PromptTuningInit, "RANDOM, SAMPLE_VOCAB or TEXT" {
        /// Random numbers.
        Random = "RANDOM",
        /// The embeddings of tokens drawn at random.
        SampleVocab = "SAMPLE_VOCAB",
        /// The embeddings of a text.
        Text = "TEXT",
    }
}

choice! {
    /// What lies between the two layers of a bottleneck.
    NonLinearity, "relu, gelu, silu or tanh" {
        /// max(x, 0).
        Relu = "relu",
        /// x times the normal distribution's integral.
        Gelu = "gelu",
        /// x times the sigmoid.
        Silu = "silu",
        /// The hyperbolic tangent.
        Tanh = "tanh",
    }
}

choice! {
    /// Where adapters stand in a block.
    Placement, "houlsby or pfeiffer" {
        /// After attention and after the feed-forward.
        Houlsby = "houlsby",
        /// After the feed-forward alone.
        Pfeiffer = "pfeiffer",
    }
}

choice! {
    /// What makes virtual tokens.
    Encoder, "MLP, LSTM or NONE" {
        /// Three linear layers.
        Mlp = "MLP",
        /// An LSTM in both directions, and two linear layers.
        Lstm = "LSTM",
        /// Nothing: they are trained themselves, as those of a saved adapter.
        None = "NONE",
    }
}

impl FieldValue for Recompute {
    const KIND: &'static str = "choice";
    const EXPECTED: &'static str = "auto, none, gate-up or block";
    const CHOICES: &'static [&'static str] =
        &[Self::Auto.name(), Self::None.name(), Self::GateUp.name(), Self::Block.name()];

    fn read(input: Input) -> Option<Self> {
        let name = String::read(input)?;
        Self::ALL.into_iter().find(|recompute| recompute.name() == name)
    }

    fn json(&self) -> Value {
        self.name().into()
    }
}

choice! {
    /// How an objective makes its loss of answers, under TRL's name.
    LossType, "sigmoid, hinge, ipo, robust, simpo, dapo, grpo, bnpo or dr_grpo" {
        /// The logistic loss.
        Sigmoid = "sigmoid",
        /// The hinge loss.
        Hinge = "hinge",
        /// The squared distance to a margin.
        Ipo = "ipo",
        /// The logistic loss over pairs of which a known share is the wrong way round.
        Robust = "robust",
        /// The logistic loss of means over the tokens, with a margin.
        Simpo = "simpo",
        /// The mean over the tokens of all answers that were written together.
        Dapo = "dapo",
        /// The mean over the answers of the means over their tokens.
        Grpo = "grpo",
        /// The mean over the tokens of a step.
        Bnpo = "bnpo",
        /// The sum over the tokens, of answers taken to be as long as they may.
        DrGrpo = "dr_grpo",
    }
}

choice! {
    /// What is compared with the model that wrote an answer.
    ImportanceSampling, "token or sequence" {
        /// Each token by itself.
        Token = "token",
        /// The answer, by the mean over its tokens.
        Sequence = "sequence",
    }
}

choice! {
    /// What rewards are divided by.
    ScaleRewards, "group, batch or none" {
        /// The standard deviation of the answers to the same prompt.
        Group = "group",
        /// That of all answers that were written together.
        Batch = "batch",
        /// Nothing.
        None = "none",
    }
}

choice! {
    /// How the distance from the reference is estimated at a token, from the log-ratio r of model and reference.
    KlEstimator, "k1 or k3" {
        /// r itself: right in the mean, of either sign.
        K1 = "k1",
        /// e^-r - 1 + r: never below 0, and less spread out.
        K3 = "k3",
    }
}
