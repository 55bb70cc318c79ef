"""Special tokens as packages name them: the keys of GGUF by role, and what ends an answer.

Source: llama.cpp (gguf-py constants; its end-of-generation set).
"""

from __future__ import annotations

from collections.abc import Mapping

GGUF_KEYS = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
    "sep_token": "seperator_token_id",  # sic
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}
"""Keys below "tokenizer.ggml." by the role of the token."""

SENTENCEPIECE_IDS = {"bos_token": 1, "eos_token": 2, "unk_token": 0}
"""What stands where a file with a vocabulary of SentencePiece names no ids."""

GGUF_END_KEYS = (
    "eos_token_id",
    "eot_token_id",
    "eom_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
)

END_TEXTS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>",
    "<turn|>", "<|tool_response>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "[e~[",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "</s>", "<｜end▁of▁sentence｜>",
))  # fmt: skip
"""Texts that end a turn or a document in some family. A package often names only one of them as its eos, and a model
that writes another one would otherwise never stop."""

_OTHERWISE = (
    ("<|end|>", {"<|return|>", "<|call|>"}),  # Harmony: ends a message, and the next may be the answer
    ("<|end|>", {"<|calls|>", "<|flush|>"}),  # Solar Open, alike
    ("</s>", {"<|tool_response>"}),  # Gemma 4: a tag like any other
)


def true_ends(ends: Mapping[int, str]) -> frozenset[int]:
    """Return the ids of those tokens that end an answer, leaving out what means something else beside the others."""
    texts = set(ends.values())
    others = {text for text, beside in _OTHERWISE if beside <= texts}
    return frozenset(id for id, text in ends.items() if text not in others)
