//! The table of tuning methods: their names, and what people are told of them. [`crate::peft`] makes them.

macro_rules! methods {
    ($($method:ident = $name:literal, $label:literal, learning_rate $rate:literal, $help:literal;)*) => {
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
        }
    };
}

methods! {
    Lora = "lora", "LoRA", learning_rate 2e-4,
        "Learns small low-rank matrices beside the model's linear layers: the usual choice.";
    Ia3 = "ia3", "IA3", learning_rate 5e-3,
        "Learns one factor for each key, value and feed-forward number: very small adapters.";
    BitFit = "bitfit", "BitFit", learning_rate 1e-3,
        "Learns a bias for each output of the linear layers and norms, and no weight.";
    Full = "full", "Full fine-tuning", learning_rate 2e-5,
        "Learns every weight of the model: the most memory, and a whole new model as the result.";
    AdaLora = "adalora", "AdaLoRA", learning_rate 1e-3,
        "LoRA that spends its ranks where they matter most.";
    Houlsby = "houlsby", "Houlsby adapters", learning_rate 3e-4,
        "Learns small networks after attention and after the feed-forward of every block.";
    UniPelt = "unipelt", "UniPELT", learning_rate 3e-4,
        "Learns LoRA, a prefix and adapters together, each behind a gate that opens as it helps.";
    LnTuning = "ln-tuning", "Layer-norm tuning", learning_rate 1e-3,
        "Learns the gains of the norms alone.";
    Prompt = "prompt", "Prompt tuning", learning_rate 1e-2,
        "Learns a few virtual tokens before the text: the smallest adapter.";
    PTuning = "p-tuning", "P-tuning", learning_rate 1e-3,
        "Learns virtual tokens that a small network makes.";
    Prefix = "prefix", "Prefix tuning", learning_rate 1e-3,
        "Learns keys and values of virtual tokens in every block, made by a small network.";
    PTuningV2 = "p-tuning-v2", "P-tuning v2", learning_rate 1e-2,
        "Learns keys and values of virtual tokens in every block, each by itself.";
}
