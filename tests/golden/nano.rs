//! The nano model: a llama of 2 layers whose every weight is the hash of its name, so that nothing of it is committed.

use std::collections::BTreeMap;

use super::hash::uniform;
use super::rows::permute_rows;

/// Decoder layers.
pub const LAYERS: usize = 2;
/// C.
pub const CHANNELS: usize = 48;
/// H.
pub const HEADS: usize = 3;
/// K.
pub const KV_HEADS: usize = 1;
/// D.
pub const HEAD_DIM: usize = 16;
/// F.
pub const FFN: usize = 96;
/// V, tied.
pub const VOCAB: usize = 512;
/// Base of the rotary frequencies.
pub const ROPE_BASE: f32 = 1e4;
/// Epsilon of the norms.
pub const RMS_EPS: f32 = 1e-5;
/// LoRA rank of its fixtures; alpha is twice that.
pub const LORA_R: usize = 4;

/// The nano model's weights by GGUF name: shape (rows first) and row-major values, with q and k in GGUF's row order.
/// There is no `output.weight`: the head is tied.
pub fn weights() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    use {CHANNELS as C, FFN as F, HEAD_DIM as D, HEADS as H, KV_HEADS as K, VOCAB as V};
    let mut weights = BTreeMap::new();
    let norm = |name: &str| (vec![C], uniform(name, C, 0.1).into_iter().map(|u| 1.0 + u).collect());
    let linear = |name: &str, out: usize, width: usize| uniform(name, out * width, (3.0 / width as f64).sqrt() as f32);
    weights.insert("token_embd.weight".into(), (vec![V, C], uniform("model.embed_tokens.weight", V * C, 0.35)));
    weights.insert("output_norm.weight".into(), norm("model.norm.weight"));
    for n in 0..LAYERS {
        for (gguf, hf) in [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")] {
            weights.insert(format!("blk.{n}.{gguf}.weight"), norm(&format!("model.layers.{n}.{hf}.weight")));
        }
        for (gguf, hf, out, width, heads) in [
            ("attn_q", "self_attn.q_proj", H * D, C, Some(H)),
            ("attn_k", "self_attn.k_proj", K * D, C, Some(K)),
            ("attn_v", "self_attn.v_proj", K * D, C, None),
            ("attn_output", "self_attn.o_proj", C, H * D, None),
            ("ffn_gate", "mlp.gate_proj", F, C, None),
            ("ffn_up", "mlp.up_proj", F, C, None),
            ("ffn_down", "mlp.down_proj", C, F, None),
        ] {
            let hf_rows = linear(&format!("model.layers.{n}.{hf}.weight"), out, width);
            let rows = heads.map_or_else(|| hf_rows.clone(), |heads| permute_rows(&hf_rows, heads, width));
            weights.insert(format!("blk.{n}.{gguf}.weight"), (vec![out, width], rows));
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::rows::unpermute_rows;
    use crate::golden::{Summary, norm};

    #[test]
    fn the_weights_are_those_of_the_generator() {
        let golden = Summary::read("nano/weights");
        let weights = weights();
        assert_eq!(golden.names().len(), weights.len());
        for (name, (shape, values)) in &weights {
            let part = name.split('.').nth(2).unwrap_or_default();
            let hf_values = match part {
                "attn_q" => unpermute_rows(values, HEADS, shape[1]),
                "attn_k" => unpermute_rows(values, KV_HEADS, shape[1]),
                _ => values.clone(),
            };
            let hf = hf_name(name);
            assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}");
            assert_eq!(golden.first(&hf), &hf_values[..8], "{name}");
            assert_eq!(golden.norm(&hf), norm(&hf_values) as f32, "{name}");
            assert!(golden.rel_l2(&hf, &hf_values) < 1e-6, "{name}");
        }
    }

    /// `blk.0.attn_q.weight` -> `model.layers.0.self_attn.q_proj.weight`
    fn hf_name(gguf: &str) -> String {
        let parts: Vec<&str> = gguf.split('.').collect();
        let part = match parts[0] {
            "token_embd" => return "model.embed_tokens.weight".into(),
            "output_norm" => return "model.norm.weight".into(),
            _ => match parts[2] {
                "attn_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                "attn_q" => "self_attn.q_proj",
                "attn_k" => "self_attn.k_proj",
                "attn_v" => "self_attn.v_proj",
                "attn_output" => "self_attn.o_proj",
                "ffn_gate" => "mlp.gate_proj",
                "ffn_up" => "mlp.up_proj",
                "ffn_down" => "mlp.down_proj",
                other => panic!("the nano model has no {other}"),
            },
        };
        format!("model.layers.{}.{part}.weight", parts[1])
    }
}
