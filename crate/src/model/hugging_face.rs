//! What transformers wants to know of a model beside its weights.

use serde_json::{Value, json};

use super::ModelConfig;
use crate::text::tokenizer::Tokenizer;

/// `config.json` of a llama without stretched contexts, whose head is its embedding: what is made here from nothing.
pub fn config_json(config: &ModelConfig, tokenizer: &Tokenizer) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rotary.base,
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": true,
        "bos_token_id": tokenizer.bos(),
        "eos_token_id": tokenizer.eos(),
        "pad_token_id": tokenizer.pad(),
        "dtype": "float32",
    })
}

/// `tokenizer_config.json`, which stands beside `tokenizer.json`.
pub fn tokenizer_config_json(config: &ModelConfig, tokenizer: &Tokenizer) -> Value {
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "bos_token": token(tokenizer.bos()),
        "eos_token": token(tokenizer.eos()),
        "pad_token": token(tokenizer.pad()),
        "clean_up_tokenization_spaces": false,
    })
}
