from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import vocabularies as v


@pytest.fixture(scope="session")
def byte_level_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen-like package with tokenizer.json."""
    directory = tmp_path_factory.mktemp("byte_level_json")
    v.write_tokenizer_json(
        directory, v.qwen_like(), {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    )
    return directory


@pytest.fixture(scope="session")
def qwen2_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("qwen2")
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": v.added_tokens_decoder(701, think=True),
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "unk_token": None,
    }
    v.write_vocab_merges(directory, v.qwen_like(), config)
    return directory


@pytest.fixture(scope="session")
def gpt2_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import pre_tokenizers

    directory = tmp_path_factory.mktemp("gpt2")
    backend = v.train_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False))
    backend.add_special_tokens(["<|endoftext|>"])
    v.write_vocab_merges(directory, backend, {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>"})
    return directory


@pytest.fixture(scope="session")
def llama_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("llama")
    v.train_sentencepiece(directory, "bpe", 707, **v.LLAMA_TRAINING)
    v.write(directory, "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True})
    return directory
