"""Small packages of random weights with a tokenizer that can say something, as transformers writes them."""

from __future__ import annotations

from pathlib import Path

import tokenizers
import torch
import transformers

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
N_MERGES = 44


def write_chat_model(directory: Path, template: str | None = TEMPLATE) -> Path:
    """Write a two-layer model that speaks bytes and a few merges of them; return its directory."""
    bytes_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer, backend.decoder = bytes_level, tokenizers.decoders.ByteLevel()
    alphabet = bytes_level.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(SPECIAL) + len(alphabet) + N_MERGES,
        special_tokens=SPECIAL,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(["the quick brown fox jumps over a lazy dog while it rains"] * 2, trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=16,
        max_position_embeddings=320,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    transformers.Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
