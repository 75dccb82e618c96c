"""llama.cpp on the processor: tokens a second of one sequence and of several at once.

    venv/bin/python tests/peers/llama_cpp.py --model FILE.gguf --libraries FOLDER --declarations FILE
        [--slots 1,8] [--prompt 64] [--tokens 32] [--threads 2]

The shared libraries are those of npm's `@node-llama-cpp/linux-x64`, in `bins/linux-x64`; the declarations of its C interface are
in PyPI's `llama-cpp-py-sync`, `llama_cpp_py_sync/_cffi_bindings.py`, which is read and not run. The work is that of
`tunesmith bench --only decode`: prompts of random ids, then one token of each sequence at a time, with the likeliest token
looked for each time and an id of our own going in, so that no sequence ends early. The key-value cache is in 32 bits, as ours is.
"""

import argparse
import json
import os
import random
import re
import statistics
import time
from pathlib import Path

import numpy
from cffi import FFI


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--libraries", type=Path, required=True)
    parser.add_argument("--declarations", type=Path, required=True)
    parser.add_argument("--slots", default="1,8", help="sequences at once, comma separated")
    parser.add_argument("--prompt", type=int, default=64, help="ids of each prompt")
    parser.add_argument("--tokens", type=int, default=32, help="of each sequence, timed one by one")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    ffi, library = opened(options.libraries, options.declarations)
    loaded = library.llama_model_load_from_file(options.model.encode(), model_settings(library))
    if loaded == ffi.NULL:
        raise SystemExit(f"{options.model} cannot be loaded")
    for slots in map(int, options.slots.split(",")):
        times = decode(ffi, library, loaded, slots, options)
        line = {
            "peer": "llama.cpp", "what": "decode", "slots": slots, "ms": statistics.median(times),
            "tokens_per_second": slots * 1e3 / statistics.median(times), "load": os.getloadavg()[0],
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def opened(libraries: Path, declarations: Path) -> tuple[FFI, object]:
    text = re.search(r'_LLAMA_H_CDEF\s*=\s*r?("""|\'\'\')(.*?)\1', declarations.read_text(), re.S).group(2)
    ffi = FFI()
    # A field that these libraries do not have.
    ffi.cdef("\n".join(line for line in text.split("\n") if "moe_cache_size" not in line))
    if "ggml_backend_load_all_from_path" not in text:
        ffi.cdef("void ggml_backend_load_all_from_path(const char * dir);")

    def library(stem: str):
        return ffi.dlopen(str(min(libraries.glob(f"{stem}*"))), ffi.RTLD_GLOBAL | ffi.RTLD_NOW)

    library("libggml-base")
    backends, llama = library("libggml.v"), library("libllama.")
    backends.ggml_backend_load_all_from_path(f"{libraries}/".encode())
    silence = ffi.callback("void(enum ggml_log_level, const char *, void *)", lambda *_: None)
    opened.kept = silence
    llama.llama_log_set(silence, ffi.NULL)
    llama.llama_backend_init()
    return ffi, llama


def model_settings(library):
    settings = library.llama_model_default_params()
    settings.n_gpu_layers = 0
    return settings


def decode(ffi: FFI, library, model, slots: int, options: argparse.Namespace) -> list[float]:
    """Times in ms of one token of each sequence."""
    settings = library.llama_context_default_params()
    positions = options.prompt + options.tokens + 1
    settings.n_ctx = settings.n_batch = settings.n_ubatch = slots * positions
    settings.n_seq_max = slots
    settings.n_threads = settings.n_threads_batch = options.threads
    settings.type_k = settings.type_v = 0  # 32 bits
    context = library.llama_init_from_model(model, settings)
    if context == ffi.NULL:
        raise SystemExit("there is no context of this size")
    vocabulary = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    drawn = random.Random(0)
    most = slots * max(options.prompt, 1)
    batch = library.llama_batch_init(most, 0, 1)

    def run(first: int, count: int) -> list[int]:
        batch.n_tokens = 0
        for slot in range(slots):
            for position in range(first, first + count):
                at = batch.n_tokens
                batch.token[at], batch.pos[at] = drawn.randrange(vocabulary), position
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, slot
                batch.logits[at] = position == first + count - 1
                batch.n_tokens += 1
        if library.llama_decode(context, batch):
            raise SystemExit("llama_decode failed")
        asked = [at for at in range(batch.n_tokens) if batch.logits[at]]
        logits = [library.llama_get_logits_ith(context, at) for at in asked]
        return [int(numpy.frombuffer(ffi.buffer(row, vocabulary * 4), "float32").argmax()) for row in logits]

    run(0, options.prompt)
    times = []
    for position in range(options.prompt, positions):
        start = time.perf_counter()
        run(position, 1)
        times.append((time.perf_counter() - start) * 1e3)
    library.llama_batch_free(batch)
    library.llama_free(context)
    return times[1:]


main()
