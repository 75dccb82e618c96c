//! How each method is made and read: a method is a file beside this one, a row here and one in the table of their names.

use super::Peft;
use super::tuning::Tuning;
use crate::Result;
use crate::model::Model;
use crate::settings::config::{Method, RunConfig};

macro_rules! tunings {
    ($($method:ident = $tuning:ty;)*) => {
        impl Method {
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

tunings! {
    Lora = super::lora::Lora;
    Ia3 = super::ia3::Ia3;
    BitFit = super::bitfit::BitFit;
    Full = super::full::Full;
    AdaLora = super::adalora::AdaLora;
    Houlsby = super::houlsby::Houlsby;
    UniPelt = super::unipelt::UniPelt;
    LnTuning = super::ln_tuning::LnTuning;
    Prompt = super::prompt::Prompt;
    PTuning = super::p_tuning::PTuning;
    Prefix = super::prefix::Prefix;
    PTuningV2 = super::prefix::Prefix;
}
