"""Small vocabularies of every layout, trained once per test run and written as package directories."""

from __future__ import annotations

import io
import json
from pathlib import Path

import sentencepiece
import tokenizers
from corpus import NASTY
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

CHAT_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXTS = [
    *NASTY,
    *(text.lower() for text in NASTY),
    "the lazy dog and the quick fox " * 3,
    "    return self.value\n" * 3,
]


def train_byte_level(pre_tokenizer: pre_tokenizers.PreTokenizer, size: int = 701) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    return backend


def write(directory: Path, name: str, content: object) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (directory / name).write_text(text, encoding="utf-8")


def added_tokens_decoder(first_id: int, think: bool = False) -> dict[str, dict[str, object]]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    tokens = [{"content": text, **flags, "special": True} for text in CHAT_TOKENS]
    if think:
        tokens += [{"content": text, **flags, "special": False} for text in ("<think>", "</think>")]
    return {str(first_id + i): token for i, token in enumerate(tokens)}


def write_vocab_merges(directory: Path, backend: tokenizers.Tokenizer, config: dict[str, object]) -> None:
    state = json.loads(backend.to_str())["model"]
    write(directory, "vocab.json", state["vocab"])
    merges = "\n".join(" ".join(pair) for pair in state["merges"])
    write(directory, "merges.txt", "#version: 0.2\n" + merges + "\n")
    write(directory, "tokenizer_config.json", config)


def write_tokenizer_json(directory: Path, backend: tokenizers.Tokenizer, config: dict[str, object]) -> None:
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CHAT_TOKENS])
    directory.mkdir(parents=True, exist_ok=True)
    backend.save(str(directory / "tokenizer.json"))
    write(directory, "tokenizer_config.json", config)


def qwen_like() -> tokenizers.Tokenizer:
    from nearlight.text.pre_tokenizers import QWEN2

    backend = train_byte_level(QWEN2.pipeline())
    backend.normalizer = normalizers.NFC()
    return backend


def train_sentencepiece(directory: Path, model_type: str, size: int, **options: object) -> None:
    """Train on a text whose characters are mostly covered, with bytes for the rest."""
    directory.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    sentences = [line for text in TEXTS for line in text.split("\n") if line.strip() and "\x00" not in line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        model_type=model_type,
        vocab_size=size,
        minloglevel=2,
        num_threads=1,
        **{"byte_fallback": True, "hard_vocab_limit": False, **options},
    )
    (directory / "tokenizer.model").write_bytes(written.getvalue())


LLAMA_TRAINING = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "user_defined_symbols": ["<|im_start|>", "<|im_end|>"],
    "allow_whitespace_only_pieces": True,
}
