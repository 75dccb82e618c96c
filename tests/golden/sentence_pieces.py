"""A small SentencePiece model (BPE with byte fallback) and what the sentencepiece library makes of some texts.

    python tests/golden/sentence_pieces.py

writes sentence_pieces.json: the tokens with their scores and kinds as GGUF has them, and for each text its ids, with a space put
before it and without.
"""

import io
import json
from pathlib import Path

import sentencepiece

HERE = Path(__file__).parent
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

TEXTS = [
    "Hello, world!", "The quick brown fox jumps over the lazy dog.", " two  spaces   and more    ", "\n", "\n\n\ttabs\r\n",
    "", " ", "a", "naïve café, Übergröße", "Привет, мир", "你好，世界", "مرحبا", "नमस्ते", "🚀 (normal) 😶‍🌫️ (multiple emojis)",
    "1234567890 3.14159 1,000,000", "def f(x):\n    return x ** 2  # square", "<s>not a token</s>", "▁already▁there",
    "\u0000\u0001\u001b[0m", "end with space ", "I'm you're we'll don't", "ＦＵＬＬ ｗｉｄｔｈ", "e\u0301 combining", "ﬁ ligature",
]  # fmt: skip


def main() -> None:
    text = (HERE.parent.parent / "README.md").read_text()
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.splitlines()), model_writer=made, vocab_size=700, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.9995, num_threads=1,
    )  # fmt: skip
    model = made.getvalue()
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    from sentencepiece import sentencepiece_model_pb2 as proto

    without = proto.ModelProto.FromString(model)
    without.normalizer_spec.add_dummy_prefix = False
    plain = sentencepiece.SentencePieceProcessor(model_proto=without.SerializeToString())

    def kind(i: int) -> int:
        if pieces.is_unknown(i):
            return UNKNOWN
        return CONTROL if pieces.is_control(i) else BYTE if pieces.is_byte(i) else NORMAL

    count = pieces.vocab_size()
    golden = {
        "tokens": [pieces.id_to_piece(i) for i in range(count)],
        "scores": [pieces.get_score(i) for i in range(count)],
        "types": [kind(i) for i in range(count)],
        "texts": [{"text": t, "prefixed": pieces.encode(t), "plain": plain.encode(t)} for t in TEXTS],
    }
    (HERE / "sentence_pieces.json").write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(f"{count} tokens, {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
