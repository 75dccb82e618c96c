//! The fixtures of the methods beside LoRA and prompt tuning: `nano/methods/NAME/`.

use serde::Deserialize;

use super::hash::uniform;

/// The folders, but for `lora_patterns` and `lora_saved`: the f64 reference has one scale, and the model's own head.
pub const METHODS: [&str; 9] =
    ["rslora", "dora", "adalora", "ia3", "p_tuning_mlp", "p_tuning_lstm", "prefix", "prefix_projection", "ln_tuning"];

/// What only AdaLoRA's curve has beside what every [`super::Curve`] has.
#[derive(Debug, Clone, Deserialize)]
pub struct AdaLora {
    /// What each step adds to its loss; the gradients have it in them.
    pub penalties: Vec<f64>,
    /// The ranks that may be left after each step.
    pub budgets: Vec<usize>,
    /// Whether ranks were chosen anew after a step.
    pub masked: Vec<bool>,
    /// In the end, by name below `base_model.model.`: which ranks of a layer are left.
    pub rank_pattern: std::collections::BTreeMap<String, Vec<bool>>,
}

/// Part of a tensor's name, what its values lie around, and their amplitude; the first that fits counts. Without an
/// amplitude it is 1 / sqrt(width).
const VALUES: [(&str, f32, Option<f32>); 11] = [
    ("lora_A", 0.0, None),
    ("lora_B", 0.0, Some(0.1)),
    ("lora_E", 0.0, Some(0.5)),
    ("lora_magnitude_vector", 1.0, Some(0.1)),
    ("ia3_l", 1.0, Some(0.2)),
    ("ln_tuning_layers", 1.0, Some(0.1)),
    ("norm.weight", 1.0, Some(0.1)),
    ("prompt_embeddings", 0.0, Some(1.0)),
    ("embedding.weight", 0.0, Some(1.0)),
    ("bias", 0.0, Some(0.2)),
    ("weight", 0.0, None),
];

/// The hash-made values of a trained tensor, of gradients and adapter folders: far from where a method changes nothing.
pub fn hashed(name: &str, shape: &[usize]) -> Vec<f32> {
    let fits = VALUES.iter().find(|(part, ..)| name.contains(part));
    let &(_, around, amplitude) = fits.unwrap_or_else(|| panic!("no method has a tensor {name}"));
    let width = shape[shape.len() - 1] as f64;
    let values = uniform(name, shape.iter().product(), amplitude.unwrap_or((1.0 / width.sqrt()) as f32));
    values.into_iter().map(|value| around + value).collect()
}

/// What a curve starts from; none where it is what the method itself starts from, which is not drawn at random.
pub fn start(method: &str, name: &str, shape: &[usize]) -> Option<Vec<f32>> {
    let known =
        ["lora_magnitude_vector", "ia3_l", "ln_tuning_layers", "lora_E", "lm_head", "embed_tokens", "norm.weight"];
    let fixed = known.iter().any(|part| name.contains(part)) || (name.contains("lora_B") && method != "adalora");
    (!fixed).then(|| hashed(name, shape))
}
