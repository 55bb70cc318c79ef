"""Greedy tokens are the same for any number of threads and any way to cut the prompt, in every family and format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nearlight.bench.synthetic import random_tensor
from nearlight.dtypes import BF16, F32, Q4_K, Q8_0, Format
from nearlight.engine.engine import Engine
from nearlight.kernels.cpu import CpuOps
from nearlight.models import build_model

# Rows of Q4_K are whole blocks of 256 values, so the inputs of all matrices are multiples of it.
LLAMA: dict[str, Any] = {
    "vocab_size": 307,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 200,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA | {"model_type": "llama"},
    "qwen2": LLAMA | {"model_type": "qwen2"},
    "qwen3": LLAMA | {"model_type": "qwen3", "tie_word_embeddings": True},
    "gemma4": LLAMA
    | {
        "model_type": "gemma4_text",
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 11,
        "global_head_dim": 64,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 307,
    },
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 307,
        "n_embd": 256,
        "n_inner": 768,
        "n_layer": 2,
        "n_head": 8,
        "n_positions": 200,
    },
}
PROMPT = np.random.default_rng(1).integers(0, 307, 83).tolist()


def build(name: str, format: Format, threads: int) -> Engine:
    ops = CpuOps(threads)
    model = build_model(ops, CONFIGS[name])
    for parameter in model.parameters():
        parameter.bind(ops, random_tensor(parameter, format))
    return Engine(model, ops)


def greedy(engine: Engine, max_rows: int, n_tokens: int = 12) -> tuple[list[int], list[bytes]]:
    """Return the tokens, and the bits of all logits they were chosen from."""
    bits = []
    sequence = engine.open()
    engine.extend(sequence, PROMPT)
    for _ in range(n_tokens):
        while not (logits := engine.step([sequence], max_rows)):
            pass
        bits.append(logits[sequence].tobytes())
        engine.extend(sequence, [int(logits[sequence][-1].argmax())])
    engine.close(sequence)
    return sequence.tokens[len(PROMPT) :], bits


@pytest.mark.parametrize("format", [F32, BF16, Q8_0, Q4_K], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_threads_and_chunks_change_no_bit(name: str, format: Format) -> None:
    wanted = greedy(build(name, format, threads=1), max_rows=512)
    assert len(set(wanted[1])) == len(wanted[1])  # a model that does compute something
    for threads in (1, 2, 3):
        engine = build(name, format, threads)
        for max_rows in (512, 64, 17, 1):
            assert greedy(engine, max_rows) == wanted
