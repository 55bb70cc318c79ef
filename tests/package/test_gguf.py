"""GGUF files: written by the gguf package, read here; names, shapes, row order, bits and the container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from nearlight import formats
from nearlight.dtypes import F32, GGML, Q8_0, Format
from nearlight.errors import NearlightError, UnsupportedError
from nearlight.package import Package, StoredTensor, TokenizerTables, open_package
from nearlight.package.gguf import read_gguf
from tests.attacks import ggufs, sound
from tests.effort import calls
from tests.package.gguf_files import (
    HEAD_DIM,
    HEADS,
    HIDDEN,
    INTERMEDIATE,
    KV_HEADS,
    LAYERS,
    VOCAB,
    decoder_shapes,
    finish,
    gguf_name,
    new_writer,
    permuted,
    random_bytes,
    write_decoder,
    write_tensor,
)


def values(tensor: StoredTensor) -> np.ndarray:
    return formats.dequantize(tensor.format, tensor.read(), tensor.row_length).reshape(tensor.shape)


def assert_same_tensors(package: Package, written: dict[str, tuple[Format, np.ndarray]]) -> None:
    assert set(package.tensors) == set(written)
    for name, (format, data) in written.items():
        tensor = package.tensors[name]
        assert (tensor.name, tensor.format) == (name, format)
        np.testing.assert_array_equal(tensor.read(), data.reshape(tensor.n_rows, -1), err_msg=name)
        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[format.name]).view(np.float32)
        np.testing.assert_array_equal(values(tensor), expected.reshape(tensor.shape), err_msg=name)


@pytest.mark.parametrize("format", GGML, ids=str)
def test_every_type_reads_bit_for_bit_and_llama_rows_come_back_in_order(tmp_path: Path, format: Format) -> None:
    written = write_decoder(tmp_path / "model.gguf", "llama", format)
    package = open_package(tmp_path / "model.gguf")
    assert {name: tensor.shape for name, tensor in package.tensors.items()} == decoder_shapes()
    assert_same_tensors(package, written)
    assert package.warnings == ("no tokenizer in the file: token ids in, logits out",)


def test_qwen2_has_biases_and_no_permutation(tmp_path: Path) -> None:
    shapes = decoder_shapes()
    shapes |= {name.replace("weight", "bias"): (shape[0],) for name, shape in shapes.items() if "q_proj" in name}
    written = write_decoder(tmp_path / "model.gguf", "qwen2", Q8_0, shapes)
    package = open_package(tmp_path)  # the directory of one file stands for the file
    assert package.model_type == "qwen2"
    assert_same_tensors(package, written)


def test_llama_biases_come_back_in_order(tmp_path: Path) -> None:
    shapes = decoder_shapes()
    shapes |= {name.replace("weight", "bias"): (shape[0],) for name, shape in shapes.items() if "_proj" in name}
    written = write_decoder(tmp_path / "model.gguf", "llama", Q8_0, shapes)
    package = open_package(tmp_path / "model.gguf")
    assert_same_tensors(package, written)
    assert (package.config["attention_bias"], package.config["mlp_bias"]) == (True, True)


def test_qwen3_has_norms_on_heads_and_a_tied_output(tmp_path: Path) -> None:
    shapes = decoder_shapes()
    del shapes["lm_head.weight"]
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.self_attn.{which}_norm.weight": (HEAD_DIM,) for which in "qk"}
    written = write_decoder(tmp_path / "model.gguf", "qwen3", Q8_0, shapes)
    package = open_package(tmp_path / "model.gguf")
    assert_same_tensors(package, written)
    assert package.config == {
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "rms_norm_eps": pytest.approx(1e-5),
        "max_position_embeddings": 64,
        "vocab_size": VOCAB,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
    }


def test_gpt2_gets_the_names_of_transformers(tmp_path: Path) -> None:
    layer = {
        "ln_1.weight": (32,), "ln_1.bias": (32,), "attn.c_attn.weight": (96, 32), "attn.c_attn.bias": (96,),
        "attn.c_proj.weight": (32, 32), "attn.c_proj.bias": (32,), "ln_2.weight": (32,), "ln_2.bias": (32,),
        "mlp.c_fc.weight": (128, 32), "mlp.c_fc.bias": (128,), "mlp.c_proj.weight": (32, 128), "mlp.c_proj.bias": (32,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (VOCAB, 32), "transformer.wpe.weight": (64, 32)}
    shapes |= {"transformer.ln_f.weight": (32,), "transformer.ln_f.bias": (32,)}
    shapes |= {f"transformer.h.{index}.{name}": shape for index in range(2) for name, shape in layer.items()}
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "gpt2")
    for add, size in (
        (writer.add_context_length, 64), (writer.add_embedding_length, 32), (writer.add_block_count, 2),
        (writer.add_feed_forward_length, 128), (writer.add_head_count, 4), (writer.add_layer_norm_eps, 1e-5),
    ):  # fmt: skip
        add(size)
    rng = np.random.default_rng(0)
    written = {}
    for name, shape in shapes.items():
        stored_as = Q8_0 if len(shape) > 1 else F32
        written[name] = stored_as, random_bytes(stored_as, shape, rng)
        write_tensor(writer, gguf_name(gguf.MODEL_ARCH.GPT2, name), stored_as, shape, written[name][1])
    finish(writer)
    package = open_package(tmp_path / "model.gguf")
    assert_same_tensors(package, written)
    assert package.config == {
        "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 128,
        "vocab_size": VOCAB, "layer_norm_epsilon": pytest.approx(1e-5), "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_fused_qkv_is_cut_into_its_rows(tmp_path: Path, architecture: str) -> None:
    rng = np.random.default_rng(0)
    sizes = {"q": HEADS * HEAD_DIM, "k": KV_HEADS * HEAD_DIM, "v": KV_HEADS * HEAD_DIM}
    rows = {which: random_bytes(Q8_0, (size, HIDDEN), rng) for which, size in sizes.items()}
    biases = {which: rng.normal(0, 1, size).astype(np.float32) for which, size in sizes.items()}
    heads = {"q": HEADS, "k": KV_HEADS}

    def stored(parts: dict[str, np.ndarray]) -> np.ndarray:
        rotated = {"q", "k"} if architecture == "llama" else set()
        return np.concatenate([permuted(part, heads[k]) if k in rotated else part for k, part in parts.items()])

    writer = new_writer(tmp_path / "model.gguf", architecture)
    write_tensor(writer, "blk.1.attn_qkv.weight", Q8_0, (sum(sizes.values()), HIDDEN), stored(rows))
    writer.add_tensor("blk.1.attn_qkv.bias", stored(biases))
    finish(writer)
    tensors = open_package(tmp_path / "model.gguf").tensors
    for which, size in sizes.items():
        name = f"model.layers.1.self_attn.{which}_proj"
        assert tensors[f"{name}.weight"].shape == (size, HIDDEN)
        np.testing.assert_array_equal(tensors[f"{name}.weight"].read(), rows[which])
        np.testing.assert_array_equal(values(tensors[f"{name}.bias"]), biases[which])


def test_a_split_model_is_one_model_whichever_part_is_named(tmp_path: Path) -> None:
    written = write_decoder(tmp_path / "model.gguf", "llama", Q8_0, split_max_tensors=6)
    parts = sorted(tmp_path.iterdir())
    assert len(parts) == 4
    for source in (parts[0], parts[2], tmp_path):
        package = open_package(source)
        assert_same_tensors(package, written)
        assert list(package.files) == parts
    parts[1].unlink()
    with pytest.raises(NearlightError, match=r"expected 4 parts, found no model-00002-of-00004\.gguf"):
        open_package(parts[0])


def test_a_view_costs_no_copy_except_where_rows_move(tmp_path: Path) -> None:
    write_decoder(tmp_path / "model.gguf", "llama", Q8_0)
    tensors = open_package(tmp_path / "model.gguf").tensors
    assert not tensors["model.layers.0.self_attn.v_proj.weight"].read().flags.owndata
    assert not tensors["model.layers.0.mlp.up_proj.weight"].read().flags.writeable


def test_types_without_a_layout_are_described_and_refused_when_read(tmp_path: Path) -> None:
    path = ggufs.spoil_tensor(tmp_path, "token_embd.weight", (1, 256), 16, 0)
    path.write_bytes(path.read_bytes() + bytes(66))
    tensor = open_package(path).tensors["model.embed_tokens.weight"]
    assert (str(tensor.format), tensor.n_bytes) == ("IQ2_XXS", 66)
    with pytest.raises(
        UnsupportedError, match=r"type of tensor 'token_embd\.weight': expected one of F32 .* found IQ2"
    ):
        tensor.read()


def test_unknown_tensors_are_warned_of(tmp_path: Path) -> None:
    path = ggufs.spoil_tensor(tmp_path, "blk.0.attn_telepathy.weight", (1, 8), 0, 0)
    assert any("1 tensors are not used by llama: blk.0.attn_telepathy" in text for text in open_package(path).warnings)


def test_every_value_type_is_read(tmp_path: Path) -> None:
    writer = new_writer(tmp_path / "model.gguf", "llama")
    expected: dict[str, Any] = {
        "u8": 200, "i8": -100, "u16": 60_000, "i16": -30_000, "u32": 4_000_000_000, "i32": -2_000_000_000,
        "u64": 2**63 + 5, "i64": -(2**62), "f32": 0.5, "f64": 0.1, "bool": True, "string": "ünï",
    }  # fmt: skip
    adders = {
        "u8": writer.add_uint8, "i8": writer.add_int8, "u16": writer.add_uint16, "i16": writer.add_int16,
        "u32": writer.add_uint32, "i32": writer.add_int32, "u64": writer.add_uint64, "i64": writer.add_int64,
        "f32": writer.add_float32, "f64": writer.add_float64, "bool": writer.add_bool, "string": writer.add_string,
    }  # fmt: skip
    for kind, add in adders.items():
        add(f"test.{kind}", expected[kind])
    writer.add_array("test.bools", [True, False, True])
    writer.add_array("test.texts", ["a", "", "ß"])
    writer.add_array("test.numbers", [1, -2, 3])
    finish(writer)
    metadata = read_gguf(tmp_path / "model.gguf").metadata.values
    assert {kind: metadata[f"test.{kind}"] for kind in expected} == expected
    assert metadata["test.bools"].tolist() == [True, False, True]
    assert metadata["test.numbers"].tolist() == [1, -2, 3]
    assert metadata["test.texts"] == ["a", "", "ß"]


def test_version_2_is_the_same_layout(tmp_path: Path) -> None:
    path = ggufs.spoil_gguf(tmp_path, sound.gguf_bytes(version=2))
    assert open_package(path).tensors["model.embed_tokens.weight"].shape == (2, 8)


def test_a_large_vocabulary_costs_little_for_each_token(tmp_path: Path) -> None:
    def add_vocabulary(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([f"token{index}" for index in range(150_000)])
        writer.add_token_merges([f"to ken{index}" for index in range(150_000)])

    write_decoder(tmp_path / "model.gguf", "llama", Q8_0, extra=add_vocabulary)
    packages: list[Package] = []
    assert calls(lambda: packages.append(open_package(tmp_path / "model.gguf"))) < 2 * 300_000
    assert isinstance(packages[0].tokenizer, TokenizerTables)
    assert len(packages[0].tokenizer.tokens) == 150_000
