"""Thousands of mutated containers: each opens and reads, or is refused by a NearlightError; nothing else may happen.

Mutations are drawn from a fixed seed, so a failure names one file. Memory is bounded by watching Python's allocations.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nearlight.errors import NearlightError
from nearlight.package import open_package
from tests.attacks import sound

N_MUTATIONS = 1200
MAX_BYTES = 16 << 20
INTERESTING = [0, 1, 7, 0x7F, 0x80, 0xFF]
WIDE = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def mutate(content: bytes, header_bytes: int, rng: np.random.Generator) -> bytes:
    """Spoil a file in one to four ways, mostly in its header, where the claims are."""
    mutated = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        limit = min(len(mutated), header_bytes) if rng.random() < 0.95 else len(mutated)
        at = int(rng.integers(0, max(1, limit)))
        match int(rng.integers(0, 6)):
            case 0:
                mutated[at : at + 1] = bytes([rng.choice(INTERESTING)])
            case 1:
                mutated[at : at + 1] = (
                    bytes([mutated[at] ^ (1 << int(rng.integers(0, 8)))]) if at < len(mutated) else b""
                )
            case 2:
                mutated[at : at + 8] = int(WIDE[rng.integers(0, len(WIDE))]).to_bytes(8, "little")
            case 3:
                del mutated[at : at + int(rng.integers(1, 40))]
            case 4:
                mutated[at:at] = mutated[at : at + int(rng.integers(1, 40))]
            case 5:
                del mutated[at if rng.random() < 0.3 else -int(rng.integers(1, 200)) :]
    return bytes(mutated)


def open_and_read(path: Path) -> bool:
    """Say whether the package opened; whatever opens must also give every tensor's bytes."""
    try:
        package = open_package(path)
        for tensor in package.tensors.values():
            assert tensor.read().shape == (tensor.n_rows, tensor.format.row_bytes(tensor.row_length))
    except NearlightError:
        return False
    return True


def gguf_content() -> tuple[bytes, int]:
    content = sound.sound_gguf(**{"llama.rope.scaling.type": sound.typed(sound.STRING, "yarn")} | {
        "llama.rope.scaling.factor": sound.typed(sound.F32, 4.0),
        "tokenizer.chat_template": sound.typed(sound.STRING, "{{ messages }}"),
    })  # fmt: skip
    return content, content.index(b"output_norm.weight")


def safetensors_content() -> tuple[bytes, int]:
    content = sound.safetensors_bytes(sound.weights())
    return content, 8 + int.from_bytes(content[:8], "little")


def json_content() -> tuple[bytes, int]:
    content = (
        b'{"model_type": "llama", "rope_scaling": {"type": "yarn", "factor": 4.0}, "eos_token_id": [1, 2], '
        b'"rope_theta": 1e4, "quantization_config": null, "architectures": ["LlamaForCausalLM"]}'
    )
    return content, len(content)


CASES: list[tuple[str, Callable[[], tuple[bytes, int]], str]] = [
    ("gguf", gguf_content, "model.gguf"),
    ("safetensors", safetensors_content, "model.safetensors"),
    ("config", json_content, "config.json"),
]


@pytest.mark.parametrize(("kind", "content_of", "name"), CASES, ids=[case[0] for case in CASES])
def test_mutations_are_read_or_refused(
    tmp_path: Path, kind: str, content_of: Callable[[], tuple[bytes, int]], name: str
) -> None:
    content, header_bytes = content_of()
    directory = tmp_path / kind
    if kind == "gguf":
        directory.mkdir()
    else:
        sound.write_sound_directory(directory)
    path = directory / name
    path.write_bytes(content)
    source = path if kind == "gguf" else directory
    assert open_and_read(source), "the unspoiled package must open"
    rng = np.random.default_rng(2026)
    n_opened = 0
    tracemalloc.start()
    try:
        for number in range(N_MUTATIONS):
            path.unlink()  # a fresh file each time: truncating one that is mapped would pull the ground away
            path.write_bytes(mutate(content, header_bytes, rng))
            try:
                n_opened += open_and_read(source)
            except Exception as error:
                pytest.fail(f"mutation {number}: {type(error).__name__}: {error}")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < MAX_BYTES
    assert 0 < n_opened < N_MUTATIONS, "mutations should neither all pass nor all fail"
