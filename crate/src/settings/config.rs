//! The settings of a run. One table holds every field: `run.json`, the command line's flags and the
//! page's form are read from it. Names are TRL's and PEFT's.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub use super::choices::*;
use super::field::{Field, FieldValue, Input};
pub use super::method::Method;
pub use super::objective::{Objective, Rows};
use super::patterns::Patterns;
pub use super::reward::RewardKind;
use super::target_modules::TargetModules;
pub use crate::tape::Recompute;
use crate::{Error, Result};

macro_rules! run_config {
    (|$method:ident, $objective:ident| $($group:literal { $($name:ident $(($($alias:literal),*))?: $type:ty = $default:expr,
        $(in $min:literal..=$max:literal,)? $(of [$($of:ident),*],)? $(for [$($for:ident),*],)? $help:literal;)* })*) => {
        /// The settings of a run. A new one holds the defaults of its method and its objective.
        #[derive(Debug, Clone, PartialEq)]
        pub struct RunConfig {
            /// The tuning method.
            pub method: Method,
            /// What it learns from.
            pub objective: Objective,
            $($(#[doc = $help] pub $name: $type,)*)*
            /// Fields that were set, as opposed to those that hold a default.
            set: BTreeSet<&'static str>,
        }

        impl RunConfig {
            /// The defaults of a method, in supervised training.
            pub fn new(method: Method) -> Self {
                Self::defaults(method, Objective::Sft)
            }

            /// The defaults of a method with an objective.
            pub fn defaults($method: Method, $objective: Objective) -> Self {
                RunConfig { method: $method, objective: $objective, $($($name: $default,)*)* set: BTreeSet::new() }
            }

            /// Every field, with the defaults of a method with an objective.
            pub fn fields(method: Method, objective: Objective) -> Vec<Field> {
                let defaults = Self::defaults(method, objective);
                vec![$($(Field {
                    name: stringify!($name),
                    flag: format!("--{}", stringify!($name).replace('_', "-")),
                    aliases: &[$($($alias),*)?],
                    kind: <$type>::KIND,
                    default: defaults.$name.json(),
                    min: bounds!($($min)?),
                    max: bounds!($($max)?),
                    choices: <$type>::CHOICES,
                    help: $help,
                    group: $group,
                    methods: vec![$($(Method::$of.name()),*)?],
                    objectives: vec![$($(Objective::$for.name()),*)?],
                },)*)*]
            }

            /// Takes over every field that was set in `other`.
            pub fn overlay(&mut self, other: &Self) {
                for key in [METHOD, OBJECTIVE].into_iter().filter(|key| other.set.contains(key)) {
                    self.set.insert(key);
                    match key {
                        METHOD => self.take_defaults(other.method, self.objective),
                        _ => self.take_defaults(self.method, other.objective),
                    }
                }
                $($(if other.set.contains(stringify!($name)) {
                    self.$name.clone_from(&other.$name);
                    self.set.insert(stringify!($name));
                })*)*
            }

            /// Takes the defaults of another method or objective for every field that was not set.
            fn take_defaults(&mut self, method: Method, objective: Objective) {
                let defaults = Self::defaults(method, objective);
                (self.method, self.objective) = (method, objective);
                $($(if !self.set.contains(stringify!($name)) { self.$name = defaults.$name; })*)*
            }

            /// Reads one field, by its own name; false where there is none of that name.
            fn read(&mut self, name: &str, input: Input) -> Result<bool> {
                match name {
                    $($(stringify!($name) => {
                        let range: (Option<f64>, Option<f64>) = (bounds!($($min)?), bounds!($($max)?));
                        self.$name = read(stringify!($name), range, input)?;
                        self.set.insert(stringify!($name));
                    })*)*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// A field as it stands in `run.json`.
            fn value(&self, name: &str) -> Value {
                match name {
                    $($(stringify!($name) => self.$name.json(),)*)*
                    _ => Value::Null,
                }
            }
        }
    };
}

macro_rules! bounds {
    () => {
        None
    };
    ($value:literal) => {
        Some(f64::from($value))
    };
}

run_config! { |method, objective|
    "Model" {
        load_in_4bit: bool = false,
            "Quantize the blocks' linear layers to NF4 while the model is loaded, from F16, BF16 or F32: QLoRA's base.";
        fp16: bool = false,
            "Multiply in half precision, on the GPU's matrix units: faster and less exact. Native only.";
    }
    "Training" {
        num_train_epochs: f64 = 3.0, in 0.001..=100000, "Passes over the examples.";
        max_steps: i32 = -1, in -1..=1000000000, "Steps to stop after, whatever the epochs; -1 for no such limit.";
        per_device_train_batch_size: u32 = if objective.rows() == Rows::Prompts { 8 } else { 1 }, in 1..=4096,
            "Examples worked on at once. More need more memory.";
        gradient_accumulation_steps: u32 = 4, in 1..=65536, "Batches that make one step.";
        learning_rate: f64 = objective.learning_rate(method.learning_rate()), in 0..=10,
            "How far a step goes. Too high and the loss jumps, too low and nothing is learnt.";
        lr_scheduler_type: LrScheduler = LrScheduler::Linear, "How the learning rate falls over the run.";
        warmup_steps("warmup_ratio"): f64 = 0.0, in 0..=1000000000,
            "Steps over which the learning rate rises from 0; below 1, their share of the run.";
        weight_decay: f64 = 0.0, in 0..=10, "Pull of the learnt weights towards 0, apart from the gradient; biases and norms feel none.";
        adam_beta1: f64 = 0.9, in 0..=0.999999, "How long AdamW remembers the gradient.";
        adam_beta2: f64 = 0.999, in 0..=0.999999, "How long AdamW remembers the gradient's size.";
        adam_epsilon: f64 = 1e-8, in 1e-20..=1, "Keeps AdamW from dividing by 0.";
        max_grad_norm: f64 = 1.0, in 0..=1000000000, "Longest gradient: longer ones are scaled down; 0 for no limit.";
        seed: u32 = 42, in 0..=4294967295u32, "Decides every random number: the same seed gives the same run.";
        shuffle: bool = true, "Take the examples in another order in each epoch.";
        recompute: Recompute = Recompute::Auto,
            "What is computed a second time instead of kept: less memory for more time, the same result.";
        trunk_cache: u32 = 1000, in 0..=1000000,
            "Megabytes of memory for what frozen lower layers make of each example, for later epochs; 0 for none.";
        memory_limit: u32 = if method == Method::Full { 4000 } else { 2000 }, in 1..=1000000, "Megabytes on the GPU that recompute auto keeps a run within, if it can.";
    }
    "Data" {
        max_length("max_seq_length", "cutoff_len"): u32 = 1024, in 2..=131072, "Tokens after which an example is cut.";
        packing: bool = false, "Fill each batch with as many examples as fit.";
        completion_only_loss: bool = true, for [Sft], "Of a prompt and its completion, learn only the completion.";
        assistant_only_loss: bool = true, for [Sft], "Of a conversation, learn only the assistant's turns.";
        raw: bool = false, "Take a prompt and its answer as the texts they are, also where the model has a chat template.";
    }
    "Objective" {
        beta("kl_coef"): f64 = match objective { Objective::Grpo => 0.0, Objective::Rloo | Objective::Ppo => 0.05, _ => 0.1 }, in 0..=1000,
            for [Dpo, Kto, Orpo, Cpo, Grpo, Rloo, Ppo],
            "Weight of the comparison: in DPO, KTO, GRPO, RLOO and PPO, higher stays nearer to the model as it was.";
        loss_type: LossType = if objective == Objective::Grpo { LossType::Dapo } else { LossType::Sigmoid },
            for [Dpo, Cpo, Grpo], "How the loss is made of answers.";
        label_smoothing: f64 = 0.0, in 0..=0.499999, for [Dpo, Cpo],
            "Share of the pairs that may be the wrong way round; DPO's loss robust and CPO's sigmoid count with it.";
        desirable_weight: f64 = 1.0, in 0..=1000, for [Kto], "Weight of the answers that were found good.";
        undesirable_weight: f64 = 1.0, in 0..=1000, for [Kto], "Weight of the answers that were found bad.";
        cpo_alpha: f64 = 1.0, in 0..=1000, for [Cpo], "Weight of learning to write the chosen answer.";
        simpo_gamma: f64 = 0.5, in 0..=1000, for [Cpo], "The margin of the loss simpo, times beta.";
        center_rewards_coefficient: f64 = 0.0, in 0..=1000, for [Reward],
            "Pull of a pair's scores towards a sum of 0: 0.01 keeps them comparable from prompt to prompt.";
        reward: Vec<RewardKind> = Vec::new(), for [Grpo, Rloo, Ppo], "What an answer earns; any number of them are added up.";
        reward_weights: Vec<f64> = Vec::new(), for [Grpo, Rloo, Ppo], "What each reward is multiplied by; none for 1.";
        num_generations: u32 = match objective { Objective::Rloo => 2, Objective::Ppo => 1, _ => 8 }, in 1..=256, for [Grpo, Rloo, Ppo],
            "Answers to each prompt; GRPO and RLOO compare them with each other.";
        max_completion_length("response_length"): u32 = if objective == Objective::Ppo { 53 } else { 512 }, in 1..=131072, for [Grpo, Rloo, Ppo], "Tokens after which an answer is cut.";
        temperature: f64 = if objective == Objective::Ppo { 0.7 } else { 1.0 }, in 0.01..=100, for [Grpo, Rloo, Ppo], "Higher makes for more variety among the answers.";
        top_p: f64 = 1.0, in 0.000001..=1, for [Grpo, Rloo, Ppo], "Draw only from the likeliest tokens that hold this share of the probability.";
        top_k: u32 = 0, in 0..=1000000, for [Grpo, Rloo, Ppo], "Draw only from so many of the likeliest tokens; 0 is from all.";
        min_p: f64 = 0.0, in 0..=1, for [Grpo, Rloo, Ppo], "Draw only from tokens that are at least this many times as likely as the likeliest.";
        repetition_penalty: f64 = 1.0, in 1..=100, for [Grpo, Rloo, Ppo], "Makes tokens that were there before less likely; 1 does nothing.";
        generation_batch_size: u32 = 8, in 1..=256, for [Grpo, Rloo, Ppo], "Answers that are written at once. More are faster, and need more memory.";
        num_iterations("num_ppo_epochs"): u32 = if objective == Objective::Ppo { 4 } else { 1 }, in 1..=1000, for [Grpo, Rloo, Ppo], "How often the same answers are learnt from.";
        steps_per_generation: u32 = 0, in 0..=65536, for [Grpo, Rloo, Ppo],
            "Batches that answers are written for at a time; 0 for those of a step.";
        epsilon("cliprange"): f64 = 0.2, in 0..=1000, for [Grpo, Rloo, Ppo], "How far from 1 the ratio to the model that wrote an answer counts.";
        epsilon_high: f64 = 0.0, in 0..=1000, for [Grpo, Rloo], "The same above 1; 0 for as far as below.";
        mask_truncated_completions: bool = false, for [Grpo, Rloo], "Learn nothing from answers that were cut.";
        importance_sampling_level: ImportanceSampling = ImportanceSampling::Token, for [Grpo],
            "What is compared with the model that wrote an answer: each token, or the answer.";
        scale_rewards: ScaleRewards = ScaleRewards::Group, for [Grpo],
            "What rewards are divided by: the spread within a group, within all answers, or nothing.";
        use_bias_correction_kl: bool = true, for [Grpo], "Weigh the distance from the reference by the ratio, too.";
        normalize_advantages: bool = false, for [Rloo], "Bring the advantages to a mean of 0 and a deviation of 1.";
        reward_clip_range: Vec<f64> = Vec::new(), for [Rloo], "The least and the most that an answer may earn, such as -1,1.";
        vf_coef: f64 = 0.1, in 0..=1000, for [Ppo], "Weight of learning what an answer will earn.";
        cliprange_value: f64 = 0.2, in 0..=1000, for [Ppo],
            "How far what is expected of an answer may move from what was expected when it was written.";
        gamma: f64 = 1.0, in 0..=1, for [Ppo], "What the next token's reward is worth of this one's; 1 for all of it.";
        lam: f64 = 0.95, in 0..=1, for [Ppo],
            "How far ahead a token is judged by what came: 0 by what the next expects, 1 by the end alone.";
        kl_estimator: KlEstimator = KlEstimator::K1, for [Ppo], "How the distance from the reference is estimated at each token.";
        whiten_rewards: bool = false, for [Ppo], "Bring the rewards of all tokens to a deviation of 1.";
        missing_eos_penalty: f64 = 0.0, in 0..=1000000, for [Ppo], "Taken off what an answer earned that was cut.";
    }
    "Reports" {
        logging_steps: u32 = 1, in 1..=1000000000, "Steps between reports; each has their mean loss.";
        eval_steps: u32 = 0, in 0..=1000000000, "Steps between evaluations; 0 for one at the end.";
        samples: u32 = 0, in 0..=16, for [Sft, Dpo, Kto, Orpo, Cpo],
            "Questions of what is held out, or else of the examples, that the model answers at each evaluation.";
        load_best_model_at_end: bool = false, "Keep the adapter as it was at the best evaluation, and not as it is at the end.";
        metric_for_best_model: String = if objective.rows() == Rows::Prompts { "reward".to_owned() } else { "loss".to_owned() },
            "What tells the best evaluation: a name that they print. The lowest loss is best, else the highest.";
        early_stopping_patience: u32 = 0, in 0..=1000000, "Stop after so many evaluations without a better one; 0 to go on.";
        early_stopping_threshold: f64 = 0.0, in 0..=1000000, "How much better an evaluation must be to count as better.";
        save_steps: u32 = 0, in 0..=1000000000, "Steps between checkpoints; 0 for one at the end.";
        save_total_limit: u32 = 0, in 0..=1000000, "Checkpoints that are kept: the newest, and the best; 0 for all.";
    }
    "Method" {
        r: u32 = 16, in 1..=1024, of [Lora, UniPelt], "Rank of the matrices: how much can be learnt.";
        lora_alpha: f64 = 32.0, in 0.000001..=1000000, of [Lora, AdaLora, UniPelt], "Weight of what is learnt: it is scaled by this over r.";
        lora_dropout: f64 = 0.0, in 0..=0.95, of [Lora, AdaLora], "Share of the input left out at random in training.";
        target_modules: TargetModules = TargetModules::AllLinear, of [Lora, AdaLora],
            "Layers to tune: all-linear, names such as q_proj,v_proj, or a regular expression for the whole path.";
        layers_to_transform: Vec<u32> = Vec::new(), of [Lora, AdaLora],
            "Blocks to tune, from 0, such as 22,23; none for all of them.";
        rank_pattern: Patterns<u32> = Patterns::default(), in 0..=1024, of [Lora, AdaLora],
            "Ranks of some layers, such as q_proj=4: the end of a path, or a regular expression for it.";
        alpha_pattern: Patterns<f64> = Patterns::default(), in 0.000001..=1000000, of [Lora],
            "The lora_alpha of some layers, in the same way.";
        modules_to_save: Vec<String> = Vec::new(), of [Lora],
            "What is trained whole beside the matrices: ends of the paths of norms, embed_tokens or lm_head.";
        use_rslora: bool = false, of [Lora], "Scale by lora_alpha over the square root of r instead.";
        use_dora: bool = false, of [Lora], "Learn magnitudes of the layers' outputs apart from their directions.";
        init_r: u32 = 12, in 1..=1024, of [AdaLora], "Ranks of each layer at first.";
        target_r: u32 = 8, in 1..=1024, of [AdaLora], "Ranks of a layer at last, on average.";
        total_step: u32 = 0, in 0..=1000000000, of [AdaLora], "Steps that the ranks are planned for; 0 for those of the run.";
        tinit: u32 = 0, in 0..=1000000000, of [AdaLora], "Steps before the first rank goes.";
        tfinal: u32 = 0, in 0..=1000000000, of [AdaLora], "Steps after the last rank has gone.";
        delta_t("deltaT"): u32 = 1, in 1..=1000000000, of [AdaLora], "Steps from one choice of ranks to the next.";
        beta1: f64 = 0.85, in 0..=0.999999, of [AdaLora], "How long the importance of a parameter is remembered.";
        beta2: f64 = 0.85, in 0..=0.999999, of [AdaLora], "How long the importance's uncertainty is remembered.";
        orth_reg_weight: f64 = 0.5, in 0..=1000, of [AdaLora], "Weight of the pull of the matrices towards orthogonal ones.";
        bottleneck_size: u32 = 64, in 1..=8192, of [Houlsby, UniPelt], "Width of the adapters: how much can be learnt.";
        non_linearity: NonLinearity = NonLinearity::Relu, of [Houlsby, UniPelt], "What lies between an adapter's two layers.";
        adapter_placement: Placement = Placement::Houlsby, of [Houlsby],
            "After attention and after the feed-forward, or after the feed-forward alone.";
        num_virtual_tokens: u32 = 16, in 1..=4096, of [Prompt, PTuning, Prefix, PTuningV2, UniPelt],
            "Virtual tokens before the text: how much can be learnt.";
        prompt_tuning_init: PromptTuningInit = PromptTuningInit::Text, of [Prompt], "What the virtual tokens start as.";
        prompt_tuning_init_text: String = "Answer in the way of the examples.".into(), of [Prompt],
            "The text whose embeddings the virtual tokens start as, repeated or cut to their number.";
        encoder_reparameterization_type: Encoder = Encoder::Mlp, of [PTuning], "The network that makes the virtual tokens.";
        encoder_hidden_size: u32 = 128, in 1..=8192, of [PTuning, Prefix], "Width of the network that makes the virtual tokens.";
        encoder_num_layers: u32 = 2, in 1..=8, of [PTuning], "Layers of an LSTM that makes the virtual tokens.";
        prefix_projection: bool = true, of [Prefix], "Let a small network make the keys and values, which trains more steadily.";
    }
}

const METHOD: &str = "method";
const OBJECTIVE: &str = "objective";

/// The field that says how the model is loaded.
pub const LOAD_IN_4BIT: &str = "load_in_4bit";

/// The field that says how it is multiplied with.
pub const FP16: &str = "fp16";

/// The field that says how a loss is made of a comparison.
pub const LOSS_TYPE: &str = "loss_type";

/// LoRA with one of its switches set, which is known by a name of its own.
pub struct Switch {
    /// The name, which may stand for the method's.
    pub name: &'static str,
    /// The name that people call it by.
    pub label: &'static str,
    /// The field that is true.
    pub field: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
}

static SWITCHES: [Switch; 3] = [
    Switch {
        name: "rslora",
        label: "rsLoRA",
        field: "use_rslora",
        help: "LoRA whose weight falls with the square root of the rank, not with the rank: for high ranks.",
    },
    Switch {
        name: "dora",
        label: "DoRA",
        field: "use_dora",
        help: "LoRA that learns how large each output is apart from its direction.",
    },
    Switch { name: "qlora", label: "QLoRA", field: LOAD_IN_4BIT, help: "LoRA over a model that is loaded in 4 bits." },
];

impl RunConfig {
    /// Reads `run.json`: an object of fields. A field that is null counts as not given.
    ///
    /// Each value is checked on its own; [`RunConfig::validate`] checks them together, once every
    /// other setting (such as flags) has been made.
    pub fn from_json(text: &str) -> Result<Self> {
        let object: Map<String, Value> = serde_json::from_str(text).map_err(|e| Error::Format {
            file: "run config".into(),
            what: format!("this is not a JSON object: {e}"),
            help: "write an object of fields, such as {\"method\": \"lora\", \"r\": 16}".into(),
        })?;
        let mut config = Self::new(Method::Lora);
        let mut given: BTreeSet<&str> = BTreeSet::new();
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            if !given.insert(canonical(key)) {
                let what = format!("it is given twice, once as {key}");
                return Err(invalid(canonical(key), what, format!("leave out \"{key}\" or its other name")));
            }
            config.apply(key, Input::Json(value))?;
        }
        Ok(config)
    }

    /// The fields that were set, rather than left at a default; "method" may be one.
    pub fn given(&self) -> impl Iterator<Item = &'static str> {
        self.set.iter().copied()
    }

    /// Forgets that these fields were given.
    pub fn leave(&mut self, names: &[&str]) {
        self.set.retain(|name| !names.contains(name));
    }

    /// Sets a field from text, as on the command line. The key may be in kebab case.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.apply(&key.replace('-', "_"), Input::Text(value))
    }

    fn apply(&mut self, key: &str, input: Input) -> Result<()> {
        if key == METHOD {
            return self.apply_method(input);
        }
        if key == OBJECTIVE {
            return self.apply_objective(input);
        }
        let name = canonical(key);
        if key == "warmup_ratio" && f64::read(input).is_some_and(|ratio| ratio >= 1.0) {
            return Err(invalid(
                key,
                "a share below 1 was expected".into(),
                "for a number of steps use warmup_steps".into(),
            ));
        }
        if self.read(name, input)? {
            return Ok(());
        }
        let fields = Self::fields(self.method, self.objective);
        let known = fields.iter().flat_map(|field| field.aliases.iter().copied().chain([field.name]));
        Err(Error::unknown_key("config key", key, known.chain([METHOD, OBJECTIVE])))
    }

    fn apply_method(&mut self, input: Input) -> Result<()> {
        let name = String::read(input).ok_or_else(|| wrong_type::<String>(METHOD, input))?;
        if let Some(method) = Method::ALL.iter().copied().find(|method| method.name() == name) {
            self.take_defaults(method, self.objective);
        } else if let Some(switch) = SWITCHES.iter().find(|switch| switch.name == name) {
            self.take_defaults(Method::Lora, self.objective);
            self.read(switch.field, Input::Text("true"))?;
        } else {
            let names = Method::ALL.iter().map(|method| method.name());
            return Err(Error::unknown_key("method", &name, names.chain(SWITCHES.iter().map(|switch| switch.name))));
        }
        self.set.insert(METHOD);
        Ok(())
    }

    fn apply_objective(&mut self, input: Input) -> Result<()> {
        let name = String::read(input).ok_or_else(|| wrong_type::<String>(OBJECTIVE, input))?;
        let objective = Objective::read(Input::Text(&name))
            .ok_or_else(|| Error::unknown_key(OBJECTIVE, &name, Objective::CHOICES.iter().copied()))?;
        self.take_defaults(self.method, objective);
        self.set.insert(OBJECTIVE);
        Ok(())
    }

    /// Those of LoRA's switches that have a name of their own.
    pub fn switches() -> &'static [Switch] {
        &SWITCHES
    }

    /// Takes over how the model was loaded: whether in 4 bits, and whether onto a device that multiplies in half precision.
    ///
    /// # Errors
    /// [`Error::Config`] where it was asked for otherwise.
    pub fn take_model(&mut self, load_in_4bit: bool, half: bool) -> Result<()> {
        if self.set.contains(LOAD_IN_4BIT) && self.load_in_4bit != load_in_4bit {
            let loaded = if load_in_4bit { "in 4 bits" } else { "as it is in its file" };
            let what = format!("it is {}, and the model was loaded {loaded}", self.load_in_4bit);
            return Err(invalid(LOAD_IN_4BIT, what, "leave it out, or load the model again as it says".into()));
        }
        self.load_in_4bit = load_in_4bit;
        if self.set.contains(FP16) && self.fp16 != half {
            let what = format!("it is {}, and the device was opened otherwise", self.fp16);
            return Err(invalid(FP16, what, "leave it out, or load the model again as it says".into()));
        }
        self.fp16 = half;
        Ok(())
    }

    /// Takes the defaults for what was set and belongs to other methods than this.
    pub fn leave_out_foreign(&mut self) {
        for field in Self::fields(self.method, self.objective) {
            if !self.has(&field) {
                self.set.remove(field.name);
            }
        }
        self.take_defaults(self.method, self.objective);
    }

    /// Whether a field belongs to this method and this objective.
    fn has(&self, field: &Field) -> bool {
        let among = |names: &[&str], name| names.is_empty() || names.contains(&name);
        among(&field.methods, self.method.name()) && among(&field.objectives, self.objective.name())
    }

    /// Checks what no field can know alone.
    pub fn validate(&self) -> Result<()> {
        for field in Self::fields(self.method, self.objective) {
            if !self.set.contains(field.name) || self.has(&field) {
                continue;
            }
            let (kind, names, own) = match field.methods.is_empty() {
                false => (METHOD, field.methods.join(", "), self.method.name()),
                true => (OBJECTIVE, field.objectives.join(", "), self.objective.name()),
            };
            let what = format!("it belongs to the {kind} {names}, and this run's is {own}");
            return Err(invalid(field.name, what, format!("leave it out, or set {kind} to {names}")));
        }
        if self.method == Method::Full && self.load_in_4bit {
            let what = "full fine-tuning trains every weight in 32 bits, and would only lose what 4 bits cannot hold";
            return Err(invalid(LOAD_IN_4BIT, what.into(), "leave it out, or use another method".into()));
        }
        if self.beta == 0.0 && !matches!(self.objective.rows(), Rows::Prompts | Rows::Examples) {
            let what = format!("at 0 {} learns nothing from a comparison", self.objective.name());
            return Err(invalid("beta", what, "give a number above 0, such as 0.1".into()));
        }
        if self.objective.rows() == Rows::Prompts {
            self.validate_rollouts()?;
        }
        if self.max_steps == 0 {
            let help = "give at least 1 step, or -1 to go by num_train_epochs";
            return Err(invalid("max_steps", "a run of no steps learns nothing".into(), help.into()));
        }
        let by_evaluations = [
            ("load_best_model_at_end", self.load_best_model_at_end),
            ("early_stopping_patience", self.early_stopping_patience > 0),
        ];
        if let Some((field, _)) = by_evaluations.into_iter().find(|(_, asked)| *asked && self.eval_steps == 0) {
            let what = "it goes by evaluations along the way, and eval_steps is 0: there is one, at the end";
            return Err(invalid(field, what.into(), "set eval_steps, such as 10".into()));
        }
        if self.warmup_steps >= 1.0 && self.warmup_steps.fract() != 0.0 {
            let what = format!("{} is neither a share below 1 nor a whole number of steps", self.warmup_steps);
            return Err(invalid("warmup_steps", what, "give 0.1 for a tenth of the run, or 10 for ten steps".into()));
        }
        if self.method == Method::AdaLora && self.target_r > self.init_r {
            let what = format!("{} ranks at last are more than the {} at first", self.target_r, self.init_r);
            return Err(invalid("target_r", what, "set it below init_r".into()));
        }
        if matches!(self.target_modules, TargetModules::Regex(_)) && !self.layers_to_transform.is_empty() {
            let what = "target_modules is a regular expression, which says by itself in which blocks it is";
            return Err(invalid("layers_to_transform", what.into(), "name the blocks in one of them alone".into()));
        }
        if self.use_dora && self.lora_dropout > 0.0 {
            let what = "DoRA measures the layer and its adapter together, and dropout takes them apart";
            return Err(invalid("lora_dropout", what.into(), "set it to 0, or use_dora to false".into()));
        }
        let needs_text = self.method == Method::Prompt && self.prompt_tuning_init == PromptTuningInit::Text;
        if needs_text && self.prompt_tuning_init_text.trim().is_empty() {
            let help = "write what the model is to do, or set prompt_tuning_init to RANDOM";
            return Err(invalid("prompt_tuning_init_text", "the text is empty".into(), help.into()));
        }
        Ok(())
    }

    /// Checks what answers are written and learnt by.
    fn validate_rollouts(&self) -> Result<()> {
        if self.packing {
            let what = "a batch holds per_device_train_batch_size answers, side by side and without a gap";
            return Err(invalid("packing", what.into(), "leave it out".into()));
        }
        let (answers, group) = (self.generation_size(), self.num_generations as usize);
        if group == 1 && self.objective != Objective::Ppo {
            let what = format!(
                "{} compares the answers to a prompt with each other, and 1 is one alone",
                self.objective.name()
            );
            return Err(invalid("num_generations", what, "give 2 or more".into()));
        }
        if group == 1 && self.reward.iter().any(|kind| matches!(kind, RewardKind::JudgePairs(_))) {
            let what = "judge-pairs compares the answers to a prompt, and 1 is one alone";
            return Err(invalid("num_generations", what.into(), "give 2 or more, or a reward by judge".into()));
        }
        if !answers.is_multiple_of(group) {
            let what = format!("answers come {group} to a prompt, and {answers} are asked for at a time");
            let help = "let per_device_train_batch_size times gradient_accumulation_steps (or steps_per_generation) be \
                        a multiple of it";
            return Err(invalid("num_generations", what, help.into()));
        }
        if !self.batches_of_generation().is_multiple_of(self.gradient_accumulation_steps as usize) {
            let (batches, step) = (self.steps_per_generation, self.gradient_accumulation_steps);
            let what = format!("{batches} batches are no whole number of steps of {step}");
            let help = "give a multiple of gradient_accumulation_steps, or leave it out";
            return Err(invalid("steps_per_generation", what, help.into()));
        }
        if !self.reward_weights.is_empty() && !self.reward.is_empty() && self.reward_weights.len() != self.reward.len()
        {
            let what = format!("{} weights are given, for {} rewards", self.reward_weights.len(), self.reward.len());
            return Err(invalid("reward_weights", what, "give one for each --reward, in the same order".into()));
        }
        match self.reward_clip_range[..] {
            [] => Ok(()),
            [least, most] if least < most => Ok(()),
            _ => {
                let what = "it is not a least and a most".into();
                Err(invalid("reward_clip_range", what, "give two numbers, such as -1,1".into()))
            }
        }
    }

    /// Batches that answers are written for at a time.
    pub fn batches_of_generation(&self) -> usize {
        match self.steps_per_generation {
            0 => self.gradient_accumulation_steps as usize,
            batches => batches as usize,
        }
    }

    /// Whether the model moves while the same answers are learnt from: each is learnt from more than once, or not all of them
    /// in one step.
    pub fn answers_grow_old(&self) -> bool {
        self.num_iterations > 1 || self.batches_of_generation() > self.gradient_accumulation_steps as usize
    }

    /// Answers that are written at a time.
    pub fn generation_size(&self) -> usize {
        self.batches_of_generation() * self.per_device_train_batch_size as usize
    }

    /// `memory_limit` in bytes.
    pub fn memory_bytes(&self) -> u64 {
        u64::from(self.memory_limit) * 1_000_000
    }

    /// The whole of `run.json`: the method, the objective, and every field that belongs to them.
    pub fn to_json(&self) -> Value {
        let kinds = [(METHOD, self.method.name()), (OBJECTIVE, self.objective.name())];
        let kinds = kinds.map(|(key, name)| (key.to_owned(), name.into()));
        let fields = Self::fields(self.method, self.objective).into_iter().filter(|field| self.has(field));
        let fields = fields.map(|field| (field.name.to_owned(), self.value(field.name)));
        Value::Object(kinds.into_iter().chain(fields).collect())
    }
}

/// The field that an alias stands for; a key that is none stays.
fn canonical(key: &str) -> &str {
    let field = RunConfig::fields(Method::Lora, Objective::Sft).into_iter().find(|field| field.aliases.contains(&key));
    field.map_or(key, |field| field.name)
}

fn read<T: FieldValue>(name: &str, (min, max): (Option<f64>, Option<f64>), input: Input) -> Result<T> {
    let value = T::read(input).ok_or_else(|| wrong_type::<T>(name, input))?;
    let range = min.unwrap_or(f64::NEG_INFINITY)..=max.unwrap_or(f64::INFINITY);
    match value.numbers().into_iter().find(|number| !range.contains(number)) {
        Some(number) => {
            let (min, max) = (range.start(), range.end());
            Err(invalid(name, format!("{number} is out of range"), format!("give a number from {min} to {max}")))
        }
        None => Ok(value),
    }
}

fn wrong_type<T: FieldValue>(name: &str, input: Input) -> Error {
    let found = match input {
        Input::Json(value) => value.to_string(),
        Input::Text(text) => format!("\"{text}\""),
    };
    let found: String = found.chars().take(60).collect();
    invalid(name, format!("{} was expected, and {found} was given", T::EXPECTED), format!("give {}", T::EXPECTED))
}

fn invalid(field: &str, what: String, help: String) -> Error {
    Error::Config { field: field.into(), what, help }
}
