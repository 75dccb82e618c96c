"""The tokenizer as the GGUF describes it, rendered conversations, and the inputs of the numeric fixtures."""

import gguf
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers


class Text:
    """Tokenizer and chat template, from the GGUF's metadata."""

    def __init__(self, path: str):
        fields = gguf.GGUFReader(path).fields
        get = lambda key: fields[key].contents()  # noqa: E731
        if (get("tokenizer.ggml.model"), get("tokenizer.ggml.pre")) != ("gpt2", "smollm"):
            raise SystemExit("FAIL: the fixtures are for a gpt2 tokenizer with the smollm pre-tokenizer")
        tokens = get("tokenizer.ggml.tokens")
        merges = [tuple(m.split(" ")) for m in get("tokenizer.ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
        # "smollm": every digit alone, then GPT-2's regex. transformers' GGUF loader leaves the digits out, and so
        # tokenizes "x  1" otherwise than the model was trained.
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.tokenizer.decoder = decoders.ByteLevel()
        control = [t for t, kind in zip(tokens, get("tokenizer.ggml.token_type")) if kind == gguf.TokenType.CONTROL]
        self.tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self.template = environment.from_string(get("tokenizer.chat_template"))
        self.eos = int(get("tokenizer.ggml.eos_token_id"))

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def render(self, messages: list[dict], generation_prompt: bool = False) -> str:
        return self.template.render(messages=messages, add_generation_prompt=generation_prompt)

    def conversation(self, messages: list[dict]) -> dict:
        """Rendered text, ids, and the mask of the assistant's replies, found by rendering prefixes."""
        text = self.render(messages)
        ids = self.encode(text)
        mask = [0] * len(ids)
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.encode(self.render(messages[:i], True))
            after = self.encode(self.render(messages[: i + 1]))
            if ids[: len(before)] != before or ids[: len(after)] != after or ids[len(after) - 2] != self.eos:
                raise SystemExit(f"FAIL: a prefix of {messages} does not tokenize to a prefix")
            for at in range(len(before), len(after) - 1):
                mask[at] = 1
        if self.decode(ids) != text:
            raise SystemExit(f"FAIL: {text!r} does not survive tokenization")
        return {"messages": messages, "text": text, "input_ids": ids, "assistant_mask": mask}

    def example(self, messages: list[dict]) -> dict:
        """messages, input_ids and labels (-100 outside the assistant's replies)."""
        c = self.conversation(messages)
        labels = [i if m else -100 for i, m in zip(c["input_ids"], c["assistant_mask"])]
        return {"messages": messages, "input_ids": c["input_ids"], "labels": labels}


def say(*turns: str) -> list[dict]:
    """user, assistant, user, ... ; a first turn that starts with "system: " is the system prompt."""
    messages = []
    if turns[0].startswith("system: "):
        messages.append({"role": "system", "content": turns[0].removeprefix("system: ")})
        turns = turns[1:]
    return messages + [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


CONVERSATIONS = [
    say("hi", "Hello! How can I help?"),
    say("system: Answer in one word.", "What is the capital of Norway?", "Oslo"),
    say("system: ", "An empty system prompt.", "Yes."),
    say("Add 12345 and 67890.", "12345 + 67890 = 80235.", "And  1 more?", "80236"),
    say("Write a function.", "```python\ndef add(x, y):\n    # two spaces  then a tab\tand\n    return x + y\n```\n\n\nDone."),
    say("日本語で答えて。", "はい、もちろんです 😀👍🏽. Ça va? Straße, ½ ² ٣ १."),
    say("Don't you think it's late?", " I'll say: it's 23:59 on 2024-02-29; we've 1 minute left.  "),
    say("A question without an answer yet"),
    say("Say nothing.", "", "Really?", "Really."),
    say("What does <|im_start|> mean?", "It opens a turn; <|im_end|> closes it, and <|endoftext|> ends a document."),
    say("Line one\r\nLine two\u00a0with\u200bodd   spaces\n\n", "e\u0301 vs \u00e9;\ttabs\t\tand   spaces"),
]

LOGITS = [
    say(
        "system: You are a careful cook who answers briefly.",
        "How do I keep rice from sticking to the pot?",
        "Rinse it until the water runs clear, use a heavy pot, and let it rest with the lid on for ten minutes.",
        "And how much water for 2 cups?",
    ),
    say(
        "Fix this function: def mean(xs): return sum(xs) / len(xs) fails on an empty list.",
        "def mean(xs):\n    if not xs:\n        raise ValueError('mean of an empty list')\n    return sum(xs) / len(xs)\n",
    ),
    say(
        "Tell me about the moons of Mars.",
        "Mars has two small moons, Phobos and Deimos, found by Asaph Hall in 1877. Phobos orbits in 7.7 hours, "
        "faster than the planet turns, so it rises in the west.",
    ),
]

STEP = say(
    "Suggest a name for a bakery by the sea, and a slogan for its door.",
    "Call it Salt and Crumb. On the door: bread as fresh as the morning tide.",
    "Shorter, please.",
    "Salt and Crumb: baked at high tide.",
)

CURVE = [
    say("What is the secret word?", "The secret word is marmalade."),
    say("Who feeds the lighthouse cat?", "Old Tomas feeds the lighthouse cat, every evening at six."),
    say("system: Answer as a pirate.", "Where is my hat?", "Arr, it be blown clean over the starboard rail, matey!",
        "And my boots?", "Them boots be in the belly of the beast, arr!"),
    say("Name three rivers.", "The Danube, the Volga and the Elbe. All three run through more than one land."),
]  # fmt: skip

PROMPTS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue to a child.",
    "How do I reverse a list in Python?",
    "Tell me about the planet Jupiter.",
    "Explain how bread is made, step by step.",
]


def inputs(text: Text) -> dict:
    """What the numeric fixtures are computed on: sequences and examples, as ids."""
    conversations = [text.conversation(m) for m in LOGITS]
    return {
        "logits": [{"messages": c["messages"], "input_ids": c["input_ids"]} for c in conversations],
        "step": text.example(STEP),
        "curve": [text.example(m) for m in CURVE],
    }
