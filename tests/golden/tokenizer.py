"""Writes tokenizer.json: texts, and the ids that Hugging Face's tokenizer gives them.

Run in an environment with the PyPI packages transformers and gguf, on the default model's file:
    python tests/golden/tokenizer.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf

The file names its pre-tokenizer "smollm". The loader of transformers does not read that name, so it is
set here as the model's own tokenizer.json has it: single digits, then GPT-2's expression.
"""

import json
import pathlib
import sys

from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

TEXTS = [
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    "\t tab\tand\t\ttabs",
    "Hello, world!",
    "hello",
    " hello",
    "  hello   there  ",
    "trailing space ",
    "It's we'll they'd I'm you've he're 'tis 'TIS IT'S",
    "don't DON'T Don’t",
    "1",
    "12345",
    " 1",
    "  1",
    "a  1",
    "in 1999, 3.14159 and 1,000,000",
    "x1y2z3",
    "½ ² ٣ Ⅷ ①",
    "10 000 €",
    "snake_case camelCase kebab-case SCREAMING_CASE",
    "fn main() {\n    println!(\"{}\", 1 + 2);\n}\n",
    "def f(x):\n\treturn x ** 2  # square\n",
    "<html><body class=\"a\">&amp;</body></html>",
    "https://example.org/a/b?c=d&e=f#g",
    "someone@example.org",
    "C:\\Users\\me\\file.txt",
    "!!! ??? ... --- *** ~~~",
    "a+b=c; d<e>f; g^h|i&j%k$l#m@n",
    "(nested [brackets {and} more])",
    "“quotes” ‘single’ «guillemets» – en — em … dots",
    "café naïve Ångström",
    "cafe\u0301 decomposed",
    "Grüße aus Köln, Straße",
    "Привет, мир!",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "你好，世界！",
    "こんにちは世界。カタカナ",
    "안녕하세요 세계",
    "👍 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪",
    "🙂text🙂 text 🙂",
    "zero\u200bwidth\u00a0nbsp\u3000ideographic",
    "\u0000\u0001\u001f\u007f",
    "\ufeffbom",
    "\U0001d54f \U00010348 \U0010fffd",
    "line one\nline two\r\nline three\rline four",
    "\n  indented\n\n    more  \n",
    "a" * 70,
    "ab " * 20,
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
    "<|endoftext|><|endoftext|>",
    "x<|im_end|>y <|im_end|> z",
    "<|im_end <|im_end|",
    "<repo_name>a/b<file_sep>c.py",
    "<|im_start|><|im_start|>  <|im_end|>\n\n",
    "The quick brown fox jumps over the lazy dog. " * 3,
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
]


def load(path):
    path = pathlib.Path(path)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    tokenizer._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


def main():
    tokenizer = load(sys.argv[1])
    cases = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)} for text in TEXTS]
    lines = ",\n".join(" " + json.dumps(case) for case in cases)
    pathlib.Path(__file__).with_suffix(".json").write_text("[\n" + lines + "\n]\n")


main()
