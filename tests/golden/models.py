"""The three models (full, cut, nano), the two adapters on them, and the check of the dequantized weights."""

import copy
import math
import os

import gguf
import numpy as np
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from peft import LoraConfig, PromptTuningConfig, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

import hashing

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VIRTUAL_TOKENS = 20
LORA_B = 0.01
PROMPT = 0.235  # the spread of the model's own token embeddings, whose root mean square is 0.136


def rms_norm(self, x: torch.Tensor) -> torch.Tensor:
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


# transformers' own rounds to f32 whatever the model's type; in f32 the two are the same.
LlamaRMSNorm.forward = rms_norm


def reference(model):
    """The model in f64 arithmetic: the same f32 weights, and transformers' f32 table of rotary angles."""
    model = model.double()
    if model.config.model_type != "gemma2":  # sdpa has no soft caps: architectures.py has a softmax of its own
        model.set_attn_implementation("sdpa")  # the eager softmax rounds to f32
    return model


def load_full(path: str) -> LlamaForCausalLM:
    """The GGUF's model in f32, eager attention, dropout off."""
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(os.path.abspath(path)),
        gguf_file=os.path.basename(path),
        dtype=torch.float32,
        attn_implementation="eager",
    )
    model.config.quantization_config = None
    return model.eval()


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """GGUF's interleaved pairs -> HF's half-split: HF row h*D + p*D/2 + j is GGUF row h*D + 2j + p."""
    out, rest = rows.shape[0], rows.shape[1:]
    half = out // heads // 2
    return rows.reshape(heads, half, 2, *rest).swapaxes(1, 2).reshape(out, *rest)


def check_dequantized(model: LlamaForCausalLM, path: str) -> int:
    """Every tensor of the GGUF, dequantized by `gguf.quants`, against the loaded model, bit for bit."""
    state = model.state_dict()
    names = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    }  # fmt: skip
    is_gemma = model.config.model_type.startswith("gemma")
    if is_gemma and model.config.model_type != "gemma":
        names |= {
            "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }  # fmt: skip
    heads = {"attn_q": model.config.num_attention_heads, "attn_k": model.config.num_key_value_heads}
    heads = heads if model.config.model_type == "llama" else {}
    untied = False
    count = 0
    for tensor in gguf.GGUFReader(path).tensors:
        want = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        elif tensor.name == "output.weight":
            name, untied = "lm_head.weight", True
        else:
            _, layer, part, kind = tensor.name.split(".")
            name = f"model.layers.{layer}.{names[part]}.{kind}"
            if part in heads:
                want = unpermute(want, heads[part])
        if is_gemma and "norm" in name:
            # Hugging Face's files have what a gain differs from 1 by.
            want = want - np.float32(1)
        got = state[name].numpy()
        if got.shape != want.shape or not np.array_equal(got.view(np.uint32), want.view(np.uint32)):
            raise SystemExit(f"FAIL: {name} of the loaded model differs from gguf.quants' {tensor.name}")
        count += 1
    if not untied and not torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"]):
        raise SystemExit("FAIL: the head is not tied to the embedding")
    return count


def cut(full: LlamaForCausalLM, layers: int = 2) -> LlamaForCausalLM:
    """The first layers, the final norm and the head of the full model: the same weights."""
    config = copy.deepcopy(full.config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    model = LlamaForCausalLM(config).float()
    keys = set(model.state_dict())
    model.load_state_dict({k: v for k, v in full.state_dict().items() if k in keys}, strict=True)
    model.tie_weights()
    model.set_attn_implementation("eager")
    return model.eval()


def nano() -> LlamaForCausalLM:
    """A llama of 2 layers whose every weight comes from the hash of its name."""
    config = LlamaConfig(
        vocab_size=512, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-5, max_position_embeddings=256,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1.0 + hashing.uniform(name, p.shape, 0.1))
            elif "embed_tokens" in name:
                p.copy_(hashing.uniform(name, p.shape, 0.35))
            else:
                p.copy_(hashing.uniform(name, p.shape, math.sqrt(3.0 / p.shape[1])))
    return model.eval()


def lora(model, r: int = 16, alpha: int = 32, b: float = LORA_B, layers=LINEARS):
    """PEFT LoRA on the linears, which are seven in most models; A and B from the hash of their names (b = 0 is PEFT's own start)."""
    config = LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules=layers, task_type="CAUSAL_LM")
    peft = get_peft_model(model, config).to(model.dtype)
    with torch.no_grad():
        for name, p in trainable(peft).items():
            p.copy_(hashing.uniform(name, p.shape, 1.0 / math.sqrt(p.shape[1]) if ".lora_A." in name else b))
    return peft.train()


def prompt(model):
    """PEFT prompt tuning, 20 virtual tokens from the hash of their name."""
    config = PromptTuningConfig(num_virtual_tokens=VIRTUAL_TOKENS, prompt_tuning_init="RANDOM", task_type="CAUSAL_LM")
    peft = get_peft_model(model, config).to(model.dtype)
    with torch.no_grad():
        for name, p in trainable(peft).items():
            p.copy_(hashing.uniform(name, p.shape, PROMPT))
    return peft.train()


def trainable(peft) -> dict[str, torch.nn.Parameter]:
    """The trained parameters by the names PEFT gives them in adapter_model.safetensors, in module order.

    PEFT saves what an encoder of virtual tokens makes and not the encoder: its parameters have their own names.
    """
    found = {n.replace(".default", ""): p for n, p in peft.named_parameters() if p.requires_grad}
    found = {n.replace(".modules_to_save", ""): p for n, p in found.items()}
    # PEFT adds the .weight of this one's module back when it loads.
    found = {n.replace("lora_magnitude_vector.weight", "lora_magnitude_vector"): p for n, p in found.items()}
    if "prompt_encoder.embedding.weight" in found and len(found) > 1:
        return {n.removeprefix("prompt_encoder."): p for n, p in found.items()}
    found = {"prompt_embeddings" if "prompt_encoder" in n else n: p for n, p in found.items()}
    saved = get_peft_model_state_dict(peft)
    if set(saved) != set(found) or any(saved[k].shape != found[k].shape for k in saved):
        raise SystemExit("FAIL: PEFT saves other tensors than it trains")
    return found


def logits(model, ids: list[int]) -> torch.Tensor:
    """[T, V] of one sequence; a prompt's virtual rows are cut off."""
    x = torch.tensor([ids])
    return model(input_ids=x, attention_mask=torch.ones_like(x), use_cache=False).logits[0, -len(ids) :]


def nll(model, example: dict) -> tuple[torch.Tensor, int]:
    """Sum of the negative log-likelihoods of the targets, and how many there are."""
    labels = torch.tensor(example["labels"])[1:]
    # In f64 even for an f32 model: torch's f32 log-softmax over 49152 classes is off by 2e-6 of the loss, and by
    # 1e-4 of a LoRA gradient, ten times the rounding of all the rest.
    rows = logits(model, example["input_ids"])[:-1].double()
    total = torch.nn.functional.cross_entropy(rows, labels, ignore_index=-100, reduction="sum")
    return total, int((labels != -100).sum())


def open_base(base: str, layers: int | None = None):
    """`nano`, or the model of a GGUF, checked, whole or cut."""
    if base == "nano":
        return nano()
    model = load_full(base)
    check_dequantized(model, base)
    return cut(model, layers) if layers else model
