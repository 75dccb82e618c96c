//! The table of objectives: what a run learns from. Its loss is a file in `objective/`.

use super::field::choice;

/// The rows that an objective learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Texts, prompts with completions, conversations.
    Examples,
    /// Prompts with a chosen and a rejected answer.
    Pairs,
    /// Prompts with an answer, and whether it is a good one; pairs become two of them.
    Verdicts,
    /// Prompts, which the model answers itself.
    Prompts,
}

impl Rows {
    /// The name that the page knows them by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Examples => "examples",
            Self::Pairs => "pairs",
            Self::Verdicts => "verdicts",
            Self::Prompts => "prompts",
        }
    }
}

macro_rules! objectives {
    ($($objective:ident = $name:literal, $label:literal, $rows:ident, learning_rate $rate:literal, $help:literal;)*) => {
        choice! {
            /// What a run learns from, and the kind of its loss.
            Objective, "sft, dpo, kto, orpo, cpo, reward, grpo, rloo or ppo" { $(#[doc = $help] $objective = $name,)* }
        }

        impl Objective {
            /// Every objective there is.
            pub const ALL: &'static [Self] = &[$(Self::$objective),*];

            /// The name that people call it by.
            pub fn label(self) -> &'static str {
                match self { $(Self::$objective => $label,)* }
            }

            /// What it is, in one line.
            pub fn help(self) -> &'static str {
                match self { $(Self::$objective => $help,)* }
            }

            /// What it learns from.
            pub fn rows(self) -> Rows {
                match self { $(Self::$objective => Rows::$rows,)* }
            }

            /// The learning rate with which all of the model learns by it: TRL's, but for ORPO.
            fn whole_model_learning_rate(self) -> f64 {
                match self { $(Self::$objective => $rate,)* }
            }
        }
    };
}

objectives! {
    Sft = "sft", "Supervised", Examples, learning_rate 2e-5,
        "Learns to write what the examples write.";
    Dpo = "dpo", "DPO", Pairs, learning_rate 1e-6,
        "Learns to prefer the chosen answer to the rejected one, and to stay near the model it began as.";
    Kto = "kto", "KTO", Verdicts, learning_rate 1e-6,
        "Learns from single answers that were found good or bad.";
    Orpo = "orpo", "ORPO", Pairs, learning_rate 2e-5,
        "Learns to write the chosen answer, and to make it likelier than the rejected one.";
    Cpo = "cpo", "CPO, SimPO", Pairs, learning_rate 1e-6,
        "Learns to prefer the chosen answer, without a look at the model it began as.";
    Reward = "reward", "Reward model", Pairs, learning_rate 1e-4,
        "Learns to score answers: the chosen one higher than the rejected one.";
    Grpo = "grpo", "GRPO", Prompts, learning_rate 1e-6,
        "Answers each prompt several times, and learns from those that earn more than the others.";
    Rloo = "rloo", "RLOO", Prompts, learning_rate 1e-6,
        "Learns from how much more an answer earns than the others to its prompt, and to stay near the model it began as.";
    Ppo = "ppo", "PPO", Prompts, learning_rate 3e-6,
        "Learns, beside answering, what an answer will earn, and from how much more each of its tokens led to.";
}

impl Objective {
    /// Sequences that belong together: a chosen answer and its rejected one are two.
    pub fn group(self) -> usize {
        if self.rows() == Rows::Pairs { 2 } else { 1 }
    }

    /// The learning rate that a run begins with where none is given, of a method that has `rate` in supervised training:
    /// as much more or less as TRL takes for the objective. ORPO keeps `rate`, for its loss is that of supervised training
    /// with a term beside it; TRL's 1e-6 left a LoRA adapter where it was after a run of 36 steps.
    pub fn learning_rate(self, rate: f64) -> f64 {
        let ratio = self.whole_model_learning_rate() / Self::Sft.whole_model_learning_rate();
        if ratio < 1.0 { rate / ratio.recip().round() } else { rate * ratio.round() }
    }
}
