//! The table of methods: a method is a file beside this one and a row here.

use super::{Peft, Tuning};
use crate::Result;
use crate::model::Model;
use crate::train::config::RunConfig;

macro_rules! methods {
    ($($method:ident = $name:literal, $label:literal, $tuning:ty, learning_rate $rate:literal, $help:literal;)*) => {
        /// A tuning method.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Method { $(#[doc = $help] $method,)* }

        impl Method {
            /// Every method there is.
            pub const ALL: &'static [Self] = &[$(Self::$method),*];

            /// The name in `run.json`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$method => $name,)* }
            }

            /// The name that people call it by.
            pub fn label(self) -> &'static str {
                match self { $(Self::$method => $label,)* }
            }

            /// What it is, in one line.
            pub fn help(self) -> &'static str {
                match self { $(Self::$method => $help,)* }
            }

            /// The learning rate that it begins with where none is given: the fewer parameters, the higher.
            pub fn learning_rate(self) -> f64 {
                match self { $(Self::$method => $rate,)* }
            }

            /// `peft_type` in its `adapter_config.json`.
            pub fn peft_type(self) -> &'static str {
                match self { $(Self::$method => <$tuning>::PEFT_TYPE,)* }
            }

            /// Whether Hugging Face's PEFT has it, and so reads its files.
            pub fn is_in_peft(self) -> bool {
                match self { $(Self::$method => <$tuning>::IN_PEFT,)* }
            }

            /// See [`Tuning::FIELDS`].
            pub(super) fn file_fields(self) -> &'static [&'static str] {
                match self { $(Self::$method => <$tuning>::FIELDS,)* }
            }

            /// See [`Tuning::read`].
            pub(super) fn read(self, file: &Object, run: &mut Object) -> std::result::Result<(), String> {
                match self { $(Self::$method => <$tuning>::read(file, run),)* }
            }
        }

        /// Makes a fresh adapter for `model` as `config` says; the same seed makes the same one.
        ///
        /// # Errors
        /// [`crate::Error::Config`] when the method's fields do not fit the model.
        pub async fn create(model: &Model, config: &RunConfig) -> Result<Box<dyn Peft>> {
            Ok(match config.method { $(Method::$method => Box::new(<$tuning>::create(model, config).await?),)* })
        }
    };
}

type Object = serde_json::Map<String, serde_json::Value>;

methods! {
    Lora = "lora", "LoRA", super::lora::Lora, learning_rate 2e-4,
        "Learns small low-rank matrices beside the model's linear layers: the usual choice.";
    Ia3 = "ia3", "IA3", super::ia3::Ia3, learning_rate 5e-3,
        "Learns one factor for each key, value and feed-forward number: very small adapters.";
    BitFit = "bitfit", "BitFit", super::bitfit::BitFit, learning_rate 1e-3,
        "Learns a bias for each output of the linear layers and norms, and no weight.";
    Full = "full", "Full fine-tuning", super::full::Full, learning_rate 2e-5,
        "Learns every weight of the model: the most memory, and a whole new model as the result.";
    AdaLora = "adalora", "AdaLoRA", super::adalora::AdaLora, learning_rate 1e-3,
        "LoRA that spends its ranks where they matter most.";
    Houlsby = "houlsby", "Houlsby adapters", super::houlsby::Houlsby, learning_rate 3e-4,
        "Learns small networks after attention and after the feed-forward of every block.";
    UniPelt = "unipelt", "UniPELT", super::unipelt::UniPelt, learning_rate 3e-4,
        "Learns LoRA, a prefix and adapters together, each behind a gate that opens as it helps.";
    LnTuning = "ln-tuning", "Layer-norm tuning", super::ln_tuning::LnTuning, learning_rate 1e-3,
        "Learns the gains of the norms alone.";
    Prompt = "prompt", "Prompt tuning", super::prompt::Prompt, learning_rate 1e-2,
        "Learns a few virtual tokens before the text: the smallest adapter.";
    PTuning = "p-tuning", "P-tuning", super::p_tuning::PTuning, learning_rate 1e-3,
        "Learns virtual tokens that a small network makes.";
    Prefix = "prefix", "Prefix tuning", super::prefix::Prefix, learning_rate 1e-3,
        "Learns keys and values of virtual tokens in every block, made by a small network.";
    PTuningV2 = "p-tuning-v2", "P-tuning v2", super::prefix::Prefix, learning_rate 1e-2,
        "Learns keys and values of virtual tokens in every block, each by itself.";
}
