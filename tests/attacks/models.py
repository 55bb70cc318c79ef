"""Packages whose container is sound and whose fault shows later.

When the model is bound, when the weights are read, when the text is used. `write_…(directory)` returns the path.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.attacks.directories import spoil_config
from tests.attacks.ggufs import spoil_gguf
from tests.attacks.sound import (
    ARRAY,
    F32,
    HIDDEN,
    I32,
    STRING,
    U32,
    Writer,
    safetensors_bytes,
    sound_gguf,
    typed,
    weights,
    write_sound_directory,
)


def write_config_shapes_disagree(directory: Path) -> Path:
    """The config speaks of a wider model than the tensors are."""
    return spoil_config(directory, hidden_size=2 * HIDDEN)


def write_gguf_shapes_disagree(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf(**{"llama.embedding_length": typed(U32, 2 * HIDDEN)}))


def write_config_more_layers_than_tensors(directory: Path) -> Path:
    return spoil_config(directory, num_hidden_layers=2**31 - 1)


def write_gguf_more_layers_than_tensors(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf(**{"llama.block_count": typed(U32, 9999)}))


def write_config_head_beyond_the_tensors(directory: Path) -> Path:
    return spoil_config(directory, head_dim=2**31 - 2)


def write_config_unknown_family(directory: Path) -> Path:
    return spoil_config(directory, model_type="perceptron", architectures=["PerceptronForCausalLM"])


def write_gguf_unknown_family(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf(**{"general.architecture": typed(STRING, "perceptron")}))


def write_tensor_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    tensors = weights()
    del tensors["model.layers.0.mlp.up_proj.weight"]
    (directory / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return directory


def write_nan_weights(directory: Path) -> Path:
    write_sound_directory(directory)
    tensors = weights()
    tensors["model.layers.0.mlp.up_proj.weight"][5, 7] = np.nan
    (directory / "model.safetensors").write_bytes(safetensors_bytes(tensors))
    return directory


def write_gguf_nan_scales(directory: Path) -> Path:
    """The last block of the last matrix (the output head) has a scale that is not a number."""
    content = bytearray(sound_gguf())
    content[-34:-32] = np.float16(np.nan).tobytes()
    return spoil_gguf(directory, bytes(content))


def write_gguf_fewer_tokens_than_embedding(directory: Path) -> Path:
    tables = {
        "tokenizer.ggml.tokens": typed(ARRAY, (STRING, ["<unk>", "<s>", "</s>", "a", "b"])),
        "tokenizer.ggml.scores": typed(ARRAY, (F32, [0.0, 0.0, 0.0, -1.0, -2.0])),
        "tokenizer.ggml.token_type": typed(ARRAY, (I32, [2, 3, 3, 1, 1])),
    }
    return spoil_gguf(directory, sound_gguf(**tables))


def spoil_chat_template(directory: Path, source: str) -> Path:
    write_sound_directory(directory)
    (directory / "chat_template.jinja").write_text(source)
    return directory


def write_template_that_loops(directory: Path) -> Path:
    return spoil_chat_template(
        directory, "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}done"
    )


def write_template_that_recurses(directory: Path) -> Path:
    return spoil_chat_template(directory, "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}")


def write_template_that_prints_without_end(directory: Path) -> Path:
    return spoil_chat_template(
        directory, "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' * 99999 }}{% endfor %}{% endfor %}"
    )


OPENS: list[Writer] = [
    write_config_shapes_disagree,
    write_gguf_shapes_disagree,
    write_config_more_layers_than_tensors,
    write_gguf_more_layers_than_tensors,
    write_config_head_beyond_the_tensors,
    write_config_unknown_family,
    write_gguf_unknown_family,
    write_tensor_missing,
    write_nan_weights,
    write_gguf_nan_scales,
    write_gguf_fewer_tokens_than_embedding,
    write_template_that_loops,
    write_template_that_recurses,
    write_template_that_prints_without_end,
]
