"""A small model of each architecture with weights from the hash of their names, as transformers and PEFT compute it.

What its GGUF file is called and has comes from gguf-py, which is llama.cpp's own: `model.json` holds the metadata and,
for each tensor, its name in both tongues.
"""

import json
import math
from pathlib import Path

import gguf
import torch
from peft import IA3Config, LNTuningConfig, LoraConfig, PrefixTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.phi3.modeling_phi3 import Phi3RMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.smollm3.modeling_smollm3 import SmolLM3RMSNorm

import hashing
import methods
import models
import numerics

# As models.py does for llamas.
Qwen2RMSNorm.forward = Qwen3RMSNorm.forward = Phi3RMSNorm.forward = SmolLM3RMSNorm.forward = models.rms_norm


def gemma_norm(self, x: torch.Tensor) -> torch.Tensor:
    return (1.0 + self.weight) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


GemmaRMSNorm.forward = Gemma3RMSNorm.forward = modeling_gemma2.Gemma2RMSNorm.forward = gemma_norm


def capped_attention(module, query, key, value, attention_mask, scaling=None, softcap=None, **_):
    """Gemma 2's own but for its softmax, which rounds to f32; sdpa has no caps."""
    key, value = (modeling_gemma2.repeat_kv(x, module.num_key_value_groups) for x in (key, value))
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * scaling / softcap)
    weights = torch.softmax(scores + attention_mask, dim=-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


modeling_gemma2.eager_attention_forward = capped_attention

STEPS = 5
SMALL = {
    "vocab_size": 512, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
    "num_key_value_heads": 1, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    "attn_implementation": "eager",
}  # fmt: skip


def rope(**parameters) -> dict:
    return {"rope_parameters": {"rope_theta": 10000.0, **parameters}}


# transformers' config, and the tuning methods beside LoRA whose gradients are kept.
MODELS = {
    "qwen2": (
        Qwen2Config(
            **SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64, "intermediate_size": 80},
            **rope(rope_type="default", rope_theta=1e6),
            rms_norm_eps=1e-6, tie_word_embeddings=False,
        ),
        ["dora", "ia3", "prefix", "bitfit"],
    ),
    "qwen3": (
        Qwen3Config(
            **SMALL | {"head_dim": 32}, **rope(rope_type="default", rope_theta=1e6), rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        ),
        ["ln_tuning", "prefix"],
    ),
    # Contexts that Llama 3, and others, were stretched for: at the 37 rows of the logits all of it has set in.
    "llama3": (
        LlamaConfig(
            **SMALL, tie_word_embeddings=True, rms_norm_eps=1e-5,
            **rope(
                rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32,
            ),
        ),
        [],
    ),
    "llama_linear": (
        LlamaConfig(
            **SMALL, tie_word_embeddings=True, rms_norm_eps=1e-5, **rope(rope_type="linear", factor=4.0),
        ),
        [],
    ),
    "llama_yarn": (
        LlamaConfig(
            **SMALL, tie_word_embeddings=True, rms_norm_eps=1e-5,
            **rope(
                rope_type="yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=4.0, beta_slow=1.0,
            ),
        ),
        [],
    ),
    # The fourth block turns nothing.
    "smollm3": (
        SmolLM3Config(
            **SMALL | {"num_hidden_layers": 4}, **rope(rope_type="default", rope_theta=5e6), rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        ),
        [],
    ),
    # Three quarters of a head turn, by factors for contexts as in training, and what they see has a window.
    "phi3": (
        Phi3Config(
            **SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 64, "intermediate_size": 80},
            original_max_position_embeddings=64, sliding_window=9, rms_norm_eps=1e-5, tie_word_embeddings=False,
            **rope(
                rope_type="longrope", partial_rotary_factor=0.75, original_max_position_embeddings=64, factor=4.0,
                short_factor=[1.0, 1.1, 1.3, 1.6, 2.0, 2.5], long_factor=[1.0, 2.0, 4.0, 8.0, 12.0, 16.0],
            ),
        ),
        ["dora", "ia3", "prefix"],
    ),
    "gemma": (
        GemmaConfig(
            **SMALL | {"head_dim": 32}, **rope(rope_type="default"), rms_norm_eps=1e-6, tie_word_embeddings=True,
            hidden_activation="gelu_pytorch_tanh",
        ),
        ["ln_tuning"],
    ),
    # Caps that scores and logits come near to.
    "gemma2": (
        Gemma2Config(
            **SMALL | {"num_hidden_layers": 3}, head_dim=16, query_pre_attn_scalar=16, sliding_window=9,
            attn_logit_softcapping=2.0, final_logit_softcapping=5.0, rms_norm_eps=1e-6, tie_word_embeddings=True,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            **rope(rope_type="default"),
        ),
        ["ln_tuning"],
    ),
    # Heads as wide as those of Gemma's, a window that the logits' rows go past, and a block in two that sees past it.
    "gemma3": (
        Gemma3TextConfig(
            **SMALL | {"num_hidden_layers": 3, "num_attention_heads": 2}, head_dim=256, query_pre_attn_scalar=256,
            sliding_window=9, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
            rms_norm_eps=1e-6, tie_word_embeddings=True,
        ),
        ["dora", "ia3", "ln_tuning", "prefix"],
    ),
    # Wider in its feed-forward than four times, as none of its own are.
    "gpt2": (
        GPT2Config(
            vocab_size=512, n_embd=48, n_inner=208, n_layer=2, n_head=3, n_positions=256, bos_token_id=1, eos_token_id=2,
            pad_token_id=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="eager",
        ),
        ["dora", "ia3", "ln_tuning", "prefix", "bitfit"],
    ),
}  # fmt: skip

KINDS = {
    "llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3,
    "smollm3": gguf.MODEL_ARCH.SMOLLM3, "phi3": gguf.MODEL_ARCH.PHI3, "gemma": gguf.MODEL_ARCH.GEMMA,
    "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3_text": gguf.MODEL_ARCH.GEMMA3, "gpt2": gguf.MODEL_ARCH.GPT2,
}  # fmt: skip


def is_norm(name: str) -> bool:
    return "norm" in name or ".ln_" in name


def is_transposed(name: str, kind: str) -> bool:
    """GPT-2's linear layers are `[in, out]` in Hugging Face's files, and as others' in GGUF files."""
    return kind == "gpt2" and ".c_" in name and name.endswith("weight")


def amplitudes(name: str, shape, kind: str) -> tuple[float, float]:
    """What the values of a tensor lie around, and how far."""
    if is_norm(name) and name.endswith("weight"):
        return 0.0 if "gemma" in kind else 1.0, 0.1
    if name.endswith("bias"):
        return 0.0, 0.3
    if any(table in name for table in ("embed_tokens", "wte", "wpe")):
        return 0.0, 0.35
    return 0.0, math.sqrt(3.0 / shape[0 if is_transposed(name, kind) else 1])


def create(name: str):
    model = AutoModelForCausalLM.from_config(MODELS[name][0]).float()
    with torch.no_grad():
        for tensor, p in model.named_parameters():
            around, amplitude = amplitudes(tensor, p.shape, model.config.model_type)
            p.copy_(around + hashing.uniform(tensor, p.shape, amplitude))
    return model.eval()


def description(model) -> dict:
    """The metadata of its file, and for each of its tensors: name, shape, what its values lie around, and how far."""
    config = model.config
    kind = config.model_type
    names = gguf.get_tensor_name_map(KINDS[kind], config.num_hidden_layers)
    tensors = {}
    for tensor, p in model.named_parameters():
        found = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        around, amplitude = amplitudes(tensor, p.shape, kind)
        # Gemma's files have the gains themselves, and Hugging Face's what they differ from 1 by.
        around += 1.0 if "gemma" in kind and "norm" in tensor else 0.0
        # The files of llamas have the pairs of a head side by side.
        heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", None)}
        interleaved = next((count for part, count in heads.items() if part in tensor and kind in ("llama", "smollm3")), 0)
        tensors[found] = {
            "name": tensor, "shape": list(p.shape), "around": around, "amplitude": amplitude,
            "interleaved_heads": interleaved,
        }  # fmt: skip
        if is_transposed(tensor, kind):
            tensors[found]["transposed"] = True
    is_gpt2 = kind == "gpt2"
    numbers = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.n_inner if is_gpt2 else config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
    }
    texts, factors = {}, {}
    if is_gpt2:
        fractions = {"attention.layer_norm_epsilon": config.layer_norm_epsilon}
        return {
            "architecture": kind, "numbers": numbers, "fractions": fractions, "texts": texts,
            "rope_factors": factors, "tensors": tensors,
        }  # fmt: skip
    numbers["attention.head_count_kv"] = config.num_key_value_heads
    fractions = {"attention.layer_norm_rms_epsilon": config.rms_norm_eps}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim != config.hidden_size // config.num_attention_heads:
        numbers |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    rope = config.rope_parameters
    if kind == "gemma3_text":
        rope = rope["full_attention"]
    if kind == "gemma2":
        fractions["attn_logit_softcapping"] = config.attn_logit_softcapping
        fractions["final_logit_softcapping"] = config.final_logit_softcapping
    if getattr(config, "sliding_window", None):
        numbers["attention.sliding_window"] = config.sliding_window
    if "gemma" in kind and kind != "gemma":
        numbers["attention.sliding_window_pattern"] = config.layer_types.index("full_attention") + 1
    fractions["rope.freq_base"] = rope["rope_theta"]
    if rope["rope_type"] in ("linear", "yarn"):
        texts["rope.scaling.type"] = rope["rope_type"]
        fractions["rope.scaling.factor"] = rope["factor"]
    if rope["rope_type"] == "yarn":
        numbers["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        fractions |= {f"rope.scaling.yarn_{name}": rope[name] for name in ("beta_fast", "beta_slow")}
    if rope["rope_type"] == "llama3":
        # The file holds by how much each frequency is divided.
        plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        factors["rope_freqs.weight"] = (plain / model.model.rotary_emb.inv_freq.double()).float().tolist()
    if rope["rope_type"] == "longrope":
        factors |= {f"rope_factors_{name}.weight": rope[f"{name}_factor"] for name in ("short", "long")}
        numbers["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        fractions["rope.scaling.attn_factor"] = model.model.rotary_emb.attention_scaling
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        numbers["rope.dimension_count"] = int(head_dim * rope["partial_rotary_factor"])
    return {
        "architecture": kind.removesuffix("_text"), "numbers": numbers, "fractions": fractions, "texts": texts, "rope_factors": factors,
        "tensors": tensors,
    }  # fmt: skip


def saved_config(name: str) -> str:
    """`config.json` as save_pretrained writes it, whatever version does."""
    config = json.loads(create(name).config.to_json_string())
    config.pop("transformers_version", None)
    return json.dumps(config, indent=1, sort_keys=True) + "\n"


def linears(model) -> list[str]:
    """The names of the linear layers of its blocks."""
    own = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "gpt2": ["c_attn", "c_proj", "c_fc"]}
    return own.get(model.config.model_type, models.LINEARS)


def tuned(model, method: str):
    """PEFT's adapter with hashed values; with biases it is the model itself."""
    if method == "bitfit":
        for tensor, p in model.named_parameters():
            p.requires_grad = tensor.endswith("bias")
        return model
    targets = {"target_modules": linears(model), "task_type": "CAUSAL_LM"}
    last = "mlp.c_proj" if model.config.model_type == "gpt2" else "down_proj"
    config = {
        "dora": lambda: LoraConfig(r=4, lora_alpha=8, use_dora=True, **targets),
        # Keys and values, as the paper has it: PEFT's own choice for Qwen2 is queries and values.
        "ia3": lambda: IA3Config(
            target_modules=[n for n in linears(model) if n in ("k_proj", "v_proj", "qkv_proj", "c_attn")] + [last],
            feedforward_modules=[last], task_type="CAUSAL_LM"
        ),
        "ln_tuning": lambda: LNTuningConfig(
            target_modules=sorted({n.split(".")[-2] for n, _ in model.named_parameters() if is_norm(n)}),
            task_type="CAUSAL_LM",
        ),
        "prefix": lambda: PrefixTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    }[method]()
    dtype = model.dtype
    peft = get_peft_model(model, config).to(dtype)
    with torch.no_grad():
        for tensor, p in models.trainable(peft).items():
            p.copy_(methods.hashed(tensor, p.shape))
    return peft.train()


def gradients(peft, example: dict, method: str):
    if method != "bitfit":
        return numerics.gradients(peft, example)
    total, tokens = models.nll(peft, example)
    (total / tokens).backward()
    biases = {f"base_model.model.{n}": p.grad.clone() for n, p in peft.named_parameters() if p.requires_grad}
    norm = math.sqrt(sum(g.double().square().sum().item() for g in biases.values()))
    facts = {"loss": total.item() / tokens, "grad_norm": norm, "target_tokens": tokens, "names": list(biases)}
    return facts, biases


def write(inputs: dict, out: Path, precision) -> None:
    for name, (_, others) in MODELS.items():
        folder = out / name
        numerics.write_json(folder / "model.json", description(create(name)))
        (folder / "config.json").write_text(saved_config(name))
        model = precision(create(name))
        numerics.logits(model, inputs["logits"], folder)
        peft = models.lora(model, 4, 8, layers=linears(model))
        numerics.write_gradients(folder, "lora_gradients", numerics.gradients(peft, inputs["step"]), False)
        peft.unload()
        peft = models.lora(model, 4, 8, 0.0, linears(model))
        numerics.write_curve(folder, "lora_curve", numerics.curve(peft, inputs["curve"], STEPS, 2e-3))
        for method in others:
            peft = tuned(precision(create(name)), method)
            result = gradients(peft, inputs["step"], method)
            numerics.write_gradients(folder, f"{method}_gradients", result, False)
