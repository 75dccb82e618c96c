"""Greedy answers of the full model."""

import torch

NEW_TOKENS = 64


def greedy(model, text, prompts: list[str]) -> list[dict]:
    """64 new tokens at most, the end of turn included when it came; the margin is top-1 minus top-2 logit."""
    answers = []
    for prompt in prompts:
        rendered = text.render([{"role": "user", "content": prompt}], True)
        prompt_ids = text.encode(rendered)
        ids, margins, cache = [], [], None
        step = torch.tensor([prompt_ids])
        with torch.no_grad():
            while len(ids) < NEW_TOKENS and text.eos not in ids:
                out = model(input_ids=step, past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                top = out.logits[0, -1].topk(2)
                ids.append(int(top.indices[0]))
                margins.append(float(top.values[0] - top.values[1]))
                step = torch.tensor([[ids[-1]]])
            x = torch.tensor([prompt_ids])
            whole = model.generate(
                x, attention_mask=torch.ones_like(x), do_sample=False, max_new_tokens=NEW_TOKENS,
                eos_token_id=text.eos, pad_token_id=text.eos,
            )[0, len(prompt_ids) :].tolist()  # fmt: skip
        if whole != ids:
            raise SystemExit(f"FAIL: generate() and the loop disagree on {prompt!r}")
        answers.append({
            "prompt": prompt, "rendered": rendered, "prompt_ids": prompt_ids, "generated_ids": ids,
            "text": text.decode([i for i in ids if i != text.eos]), "margins": margins,
        })  # fmt: skip
        print(f"  {prompt!r}: {len(ids)} tokens, smallest margin {min(margins):.4f}", flush=True)
    return answers
