"""The file that peers read holds the same shapes and the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from nearlight.bench.model import packaged
from nearlight.bench.peers.gguf_file import gguf_name, write_gguf
from nearlight.bench.synthetic import random_tensor
from nearlight.errors import RequestError
from nearlight.kernels.count import CountOps
from nearlight.models import build_model
from nearlight.package import open_package
from tests.bench.tiny import CONFIG, GPT2, tiny

CONFIGS = [
    CONFIG,
    CONFIG | {"model_type": "llama", "tie_word_embeddings": False, "rms_norm_eps": 1e-5},
    CONFIG | {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
]


MISTRAL = CONFIG | {"model_type": "mistral", "tie_word_embeddings": False, "sliding_window": None}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config["model_type"])
@pytest.mark.parametrize("weights", ["bf16", "q4_0"])
def test_the_engine_reads_the_same_model_back(tmp_path: Path, config: dict[str, Any], weights: str) -> None:
    model = tiny(weights, config)
    package = open_package(write_gguf(model, tmp_path))
    for key, value in config.items():
        if key != "rope_parameters":
            assert package.config[key] == (pytest.approx(value) if isinstance(value, float) else value)
    parameters = list(build_model(CountOps(), config).parameters())
    assert set(package.tensors) == {parameter.name for parameter in parameters}
    for parameter in parameters:
        ours, theirs = random_tensor(parameter, model.format_of(parameter)), package.tensors[parameter.name]
        assert (theirs.format, theirs.shape) == (ours.format, ours.shape)
        if config["model_type"] != "llama":  # whose reader puts rows of q and k into another order
            assert (theirs.read() == ours.read()).all()


def test_other_readers_understand_it(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write_gguf(tiny("q4_0"), tmp_path))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 + 3 * 11
    assert tensors["blk.2.ffn_down.weight"].tensor_type == gguf.GGMLQuantizationType.Q4_0
    assert tensors["blk.2.ffn_down.weight"].shape.tolist() == [160, 96]
    assert tensors["output_norm.weight"].data.tolist() == [1.0] * 96
    assert reader.fields["qwen3.attention.head_count_kv"].contents() == 2
    assert reader.fields["qwen3.vocab_size"].contents() == 320
    assert reader.fields["tokenizer.ggml.model"].contents() == "no_vocab"


def test_tensors_that_end_anywhere_are_aligned(tmp_path: Path) -> None:
    model = tiny("bf16", head_dim=6)  # a head's norm takes 24 bytes
    package = open_package(write_gguf(model, tmp_path))
    for parameter in build_model(CountOps(), model.config).parameters():
        ours = random_tensor(parameter, model.format_of(parameter))
        assert (package.tensors[parameter.name].read() == ours.read()).all()


def test_a_package_keeps_its_bits(tmp_path: Path) -> None:
    source = write_gguf(tiny("q5_0"), tmp_path)
    (tmp_path / "again").mkdir()
    again = write_gguf(packaged(source), tmp_path / "again")
    assert again.read_bytes() == source.read_bytes()


def test_names_are_ggufs() -> None:
    assert gguf_name("model.layers.12.self_attn.q_norm.weight") == "blk.12.attn_q_norm.weight"
    assert gguf_name("model.layers.0.self_attn.k_proj.bias") == "blk.0.attn_k.bias"
    assert gguf_name("lm_head.weight") == "output.weight"


def test_rows_that_do_not_fill_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"token_embd.weight: expected rows of a multiple of 256 for Q4_K, found 96"):
        write_gguf(tiny("q4_k"), tmp_path)


def test_formats_that_ggufs_do_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"token_embd.weight: expected one of F32.*MXFP4, found W4G128"):
        write_gguf(tiny("w4g128"), tmp_path)


def test_mistral_is_llama_there(tmp_path: Path) -> None:
    package = open_package(write_gguf(tiny("q4_0", MISTRAL), tmp_path))
    assert package.model_type == "llama"
    parameters = build_model(CountOps(), MISTRAL).parameters()
    assert {name: tensor.shape for name, tensor in package.tensors.items()} == {
        parameter.name: parameter.stored_shape for parameter in parameters
    }


@pytest.mark.parametrize(("config", "window"), [({"sliding_window": 70}, 70), ({}, 4096)])
def test_a_window_that_the_file_cannot_say_is_refused(tmp_path: Path, config: dict[str, Any], window: int) -> None:
    windowed = {key: value for key, value in MISTRAL.items() if key != "sliding_window"} | config
    with pytest.raises(RequestError, match=f"expected mistral without a sliding window, found one of {window} tokens"):
        write_gguf(tiny("q4_0", windowed), tmp_path)


def test_other_families_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"a model of llama, mistral, qwen2, qwen3, found gpt2; name a file"):
        write_gguf(tiny("w8", GPT2), tmp_path)
