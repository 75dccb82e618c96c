"""PyTorch with PEFT: the forward pass and one LoRA training step on the SmolLM2-135M shape, random weights.

    python3.11 -m venv venv && venv/bin/pip install torch transformers peft
    venv/bin/python tests/peers/pytorch_peft.py [--tokens 128,256,512] [--steps 6] [--threads 2]
        [--device cpu|cuda] [--dtype f32|bf16] [--compile] [--gemm]

One JSON object a line on standard output, everything else on standard error. CUDA is used where there is one. `--dtype
bf16` is autocast over f32 weights; `--compile` is torch.compile with its defaults. `--gemm` times the products of
the layers alone, forward and back, in f32 without TF32. Nothing is downloaded.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peft
import torch
import transformers

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="128", help="sequence lengths, comma separated")
    parser.add_argument("--steps", type=int, default=6, help="timed runs of each")
    parser.add_argument("--warmup", type=int, default=2, help="untimed runs before them")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-forward", action="store_true", help="the step only, so that peak_bytes is its own")
    parser.add_argument("--gemm", action="store_true", help="the layers' products alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.gemm:
        for t in map(int, options.tokens.split(",")):
            for k, n in [(576, 960), (576, 576), (576, 3072), (1536, 576)]:
                gemm(options, t, k, n)
        return

    config = transformers.LlamaConfig(
        num_hidden_layers=30, hidden_size=576, num_attention_heads=9, num_key_value_heads=3, head_dim=64,
        intermediate_size=1536, vocab_size=49152, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_theta=1e5, rope_parameters={"rope_type": "default", "rope_theta": 1e5}, use_cache=False,
        max_position_embeddings=8192,
    )  # fmt: skip
    base = transformers.LlamaForCausalLM(config).float()
    lora = peft.LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=LINEARS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, lora).to(options.device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    print(f"{sum(p.numel() for p in trained)} trained parameters", file=sys.stderr)
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    run = torch.compile(model) if options.compile else model

    def forward(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(options.device, torch.bfloat16, enabled=options.dtype == "bf16"):
            # T + 1 tokens would give T targets; the shift is done here, so that every row of T has one.
            logits = run(input_ids=ids[:, :-1]).logits
        return torch.nn.functional.cross_entropy(logits[0].float(), ids[0, 1:])

    def lora_step(ids: torch.Tensor) -> float:
        loss = forward(ids)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def forward_only(ids: torch.Tensor) -> float:
        with torch.no_grad():
            return forward(ids).item()

    for t in map(int, options.tokens.split(",")):
        ids = torch.randint(0, 49152, (1, t + 1), device=options.device)
        for what, work in [("forward", forward_only), ("lora_step", lora_step)]:
            if what == "forward" and options.no_forward:
                continue
            losses, ms = [], []
            for i in range(options.warmup + options.steps):
                start = time.perf_counter()
                losses.append(work(ids))  # .item() waits for the device
                if i >= options.warmup:
                    ms.append(round((time.perf_counter() - start) * 1e3, 1))
            check(what, losses)
            where = f"{options.threads} threads" if options.device == "cpu" else torch.cuda.get_device_name()
            note = f"{options.device}, {where}, {options.dtype}, {'torch.compile' if options.compile else 'eager'}"
            note += f"; transformers {transformers.__version__}, peft {peft.__version__}"
            if options.device == "cuda":
                note += f"; peak device bytes {torch.cuda.max_memory_allocated()}"
            report(what, t, ms, f"{note}; loss {losses[0]:.3f} -> {losses[-1]:.3f}")


def gemm(options: argparse.Namespace, t: int, k: int, n: int) -> None:
    """(t, k) by (k, n) and back, each some times over for one time: a GPU answers in less than a call takes."""
    assert not torch.backends.cuda.matmul.allow_tf32
    x, w, dy = (torch.randn(shape, device=options.device) for shape in [(t, k), (n, k), (t, n)])
    for what, work in [("gemm", lambda: x @ w.T), ("gemm_back", lambda: dy @ w)]:
        ms = []
        for i in range(options.warmup + options.steps):
            start, times = time.perf_counter(), 100 if options.device == "cuda" else 2
            for _ in range(times):
                y = work()
            y[0, 0].item()
            if i >= options.warmup:
                ms.append((time.perf_counter() - start) * 1e3 / times)
        gflops = 2 * t * k * n / statistics.median(ms) / 1e6
        where = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} threads"
        report(what, t, ms, f"{where}, f32", k=k, n=n, gflops=round(gflops, 1))


def check(what: str, losses: list[float]) -> None:
    """Random weights know nothing: ln V at first; then the same tokens again and again must be learnt."""
    if not abs(losses[0] - math.log(49152)) < (0.5 if what == "forward" else 1.5):
        sys.exit(f"{what}: the loss starts at {losses[0]}, not near {math.log(49152):.3f}")
    if what == "lora_step" and not losses[-1] < losses[0]:
        sys.exit(f"{what}: the loss does not fall: {losses}")


def report(what: str, t: int, ms: list[float], note: str, **more: float) -> None:
    line = {
        "peer": "pytorch-peft", "version": torch.__version__, "what": what, "model": "smollm2-135m", "t": t, "ms": ms,
        "median_ms": statistics.median(ms), "peak_bytes": peak_bytes(), "load": os.getloadavg()[0], "note": note, **more,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def peak_bytes() -> int | None:
    """The most memory this process has held (VmHWM), over everything it has run so far."""
    try:
        with open("/proc/self/status") as status:
            return next(int(row.split()[1]) * 1024 for row in status if row.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


main()
