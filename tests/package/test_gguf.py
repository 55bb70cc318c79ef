"""GGUF files: written by the gguf package, read here; names, shapes, order, bits, config and text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from nearlight import formats
from nearlight.dtypes import ALL, F32, MXFP4, Q8_0, Format
from nearlight.errors import NearlightError, UnsupportedError
from nearlight.formats import CODECS
from nearlight.package import Package, StoredTensor, TokenizerTables, open_package
from nearlight.package.gguf import read_gguf
from tests.attacks import malformed

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 256, 512, 2, 6, 2, 64, 71


def decoder_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        inside = {
            "input_layernorm": (HIDDEN,),
            "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN),
            "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN),
            "self_attn.o_proj": (HIDDEN, 512),
            "post_attention_layernorm": (HIDDEN,),
            "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
            "mlp.up_proj": (INTERMEDIATE, HIDDEN),
            "mlp.down_proj": (HIDDEN, INTERMEDIATE),
        }
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()}
    return shapes


def random_bytes(format: Format, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Rows of random codes under sane scales."""
    n_rows = math.prod(shape[:-1])
    if format.block_size == 1:
        return formats.quantize(format, rng.normal(0, 1, (n_rows, shape[-1])).astype(np.float32))
    blocks = rng.integers(0, 256, (n_rows * shape[-1] // format.block_size, format.block_bytes), dtype=np.uint8)
    for offset in CODECS[format].scales_at:
        blocks[:, offset : offset + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    if format == MXFP4:
        blocks[:, 0] = 120  # an exponent
    return blocks.reshape(n_rows, -1)


def gguf_name(architecture: gguf.MODEL_ARCH, name: str) -> str:
    """The gguf package's own mapping, which is not ours."""
    mapped = gguf.get_tensor_name_map(architecture, LAYERS).get_name(name, try_suffixes=(".weight", ".bias"))
    assert mapped is not None
    return mapped


def permuted(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """What llama.cpp's converter does to q and k rows (or elements of a bias)."""
    return rows.reshape(n_heads, 2, len(rows) // n_heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write_tensor(writer: gguf.GGUFWriter, name: str, format: Format, shape: tuple[int, ...], data: np.ndarray) -> None:
    ggml_type = gguf.GGMLQuantizationType[format.name]
    if format == F32:
        writer.add_tensor(name, np.ascontiguousarray(data).view(np.float32).reshape(shape))
    else:
        writer.add_tensor(name, data.reshape(*shape[:-1], -1), raw_dtype=ggml_type)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def new_writer(path: Path, architecture: str, **options: Any) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, architecture, **options)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(5e5)
    return writer


def write_decoder(
    path: Path,
    architecture: str,
    format: Format,
    shapes: dict[str, tuple[int, ...]] | None = None,
    extra: Callable[[gguf.GGUFWriter], None] = lambda writer: None,
    **options: Any,
) -> dict[str, tuple[Format, np.ndarray]]:
    """Write random weights as a converter would; return them in Hugging Face order."""
    rng = np.random.default_rng(0)
    writer = new_writer(path, architecture, **options)
    extra(writer)
    written = {}
    for name, shape in (decoder_shapes() if shapes is None else shapes).items():
        stored_as = format if len(shape) > 1 else F32
        data = random_bytes(stored_as, shape, rng)
        written[name] = stored_as, data
        rows = data if len(shape) > 1 else data.reshape(shape[0], -1)
        if architecture == "llama" and ".q_proj" in name:
            rows = permuted(rows, HEADS)
        if architecture == "llama" and ".k_proj" in name:
            rows = permuted(rows, KV_HEADS)
        arch = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}[architecture]
        write_tensor(writer, gguf_name(arch, name), stored_as, shape, rows)
    finish(writer)
    return written


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


@pytest.mark.parametrize("format", ALL, ids=str)
def test_every_type_reads_bit_for_bit_and_llama_rows_come_back_in_order(tmp_path: Path, format: Format) -> None:
    written = write_decoder(tmp_path / "model.gguf", "llama", format)
    package = open_package(tmp_path / "model.gguf")
    assert {name: tensor.shape for name, tensor in package.tensors.items()} == decoder_shapes()
    assert_same_tensors(package, written)
    assert package.remarks == ("no tokenizer in the file: token ids in, logits out",)


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
    path = malformed.spoil_tensor(tmp_path, "token_embd.weight", (1, 256), 16, 0)
    path.write_bytes(path.read_bytes() + bytes(66))
    tensor = open_package(path).tensors["model.embed_tokens.weight"]
    assert (str(tensor.format), tensor.n_bytes) == ("IQ2_XXS", 66)
    with pytest.raises(
        UnsupportedError, match=r"type of tensor 'token_embd\.weight': expected one of F32 .* found IQ2"
    ):
        tensor.read()


def test_unknown_tensors_are_remarked(tmp_path: Path) -> None:
    path = malformed.spoil_tensor(tmp_path, "blk.0.attn_telepathy.weight", (1, 8), 0, 0)
    assert any("1 tensors are not used by llama: blk.0.attn_telepathy" in text for text in open_package(path).remarks)


# --- rotary settings --------------------------------------------------------------------------------------------------


def rope(tmp_path: Path, **metadata: bytes) -> dict[str, Any]:
    changes = {f"llama.rope.{key}": value for key, value in metadata.items()}
    result: dict[str, Any] = open_package(malformed.spoil_metadata(tmp_path, changes)).config["rope_parameters"]
    return result


def number(value: float) -> bytes:
    return malformed.typed(malformed.F32, value)


def count(value: int) -> bytes:
    return malformed.typed(malformed.U32, value)


def text(value: str) -> bytes:
    return malformed.typed(malformed.STRING, value)


def test_rotary_settings_default_to_llama_cpp_s(tmp_path: Path) -> None:
    assert rope(tmp_path) == {"rope_type": "default", "rope_theta": 10_000.0}
    assert rope(tmp_path, dimension_count=count(4))["partial_rotary_factor"] == 0.5


@pytest.mark.parametrize(
    "metadata",
    [
        {"scaling.type": text("linear"), "scaling.factor": number(4)},
        {"scaling.factor": number(4)},
        {"scale_linear": number(4)},
    ],
)
def test_linear_scaling_is_read_in_its_three_spellings(tmp_path: Path, metadata: dict[str, bytes]) -> None:
    assert rope(tmp_path, **metadata) == {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4}


def test_yarn_is_read(tmp_path: Path) -> None:
    yarn = {"scaling.type": text("yarn"), "scaling.factor": number(4), "scaling.original_context_length": count(16)}
    expected = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4, "original_max_position_embeddings": 16}
    assert rope(tmp_path, **yarn) == expected
    more = {
        "scaling.yarn_beta_fast": number(64),
        "scaling.yarn_beta_slow": number(2),
        "scaling.attn_factor": number(0.5),
    }
    magnitude = 0.5 * (1 + 0.1 * math.log(4))
    assert rope(tmp_path, **yarn, **more) == expected | {
        "beta_fast": 64, "beta_slow": 2, "attention_factor": pytest.approx(magnitude),
    }  # fmt: skip


def test_llama3_scaling_arrives_as_divisors(tmp_path: Path) -> None:
    def add_divisors(writer: gguf.GGUFWriter) -> None:
        writer.add_tensor("rope_freqs.weight", np.linspace(1, 8, HEAD_DIM // 2, dtype=np.float32))

    write_decoder(tmp_path / "model.gguf", "llama", Q8_0, extra=add_divisors)
    package = open_package(tmp_path / "model.gguf")
    expected = np.linspace(1, 8, HEAD_DIM // 2, dtype=np.float32).tolist()
    assert package.config["rope_parameters"] == {"rope_type": "divisors", "rope_theta": 5e5, "divisors": expected}
    assert set(package.tensors) == set(decoder_shapes())
    assert len(package.remarks) == 1


# --- text -------------------------------------------------------------------------------------------------------------


def test_tokenizer_tables_special_tokens_templates_and_stop_ids(tmp_path: Path) -> None:
    tokens = ["a", "b", "ab", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]

    def add_text(writer: gguf.GGUFWriter) -> None:
        writer.add_name("A model")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(tokens)
        writer.add_token_types([1, 1, 1, 3, 3, 3, 3])
        writer.add_token_merges(["a b"])
        writer.add_eos_token_id(5)
        writer.add_bos_token_id(3)
        writer.add_pad_token_id(6)
        writer.add_add_bos_token(False)
        writer.add_chat_template([{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}])
        writer.add_float32("general.sampling.temp", 0.5)
        writer.add_int32("general.sampling.top_k", 20)

    write_decoder(tmp_path / "model.gguf", "qwen2", Q8_0, extra=add_text)
    package = open_package(tmp_path / "model.gguf")
    assert package.name == "A model"
    tables = package.tokenizer
    assert isinstance(tables, TokenizerTables)
    assert (tables.kind, tables.tokens, tables.merges) == ("gpt2", tokens, ["a b"])
    assert (tables.token_types, tables.scores) == ([1, 1, 1, 3, 3, 3, 3], [])
    assert (tables.settings["pre"], tables.settings["add_bos_token"], tables.settings["eos_token_id"]) == (
        "qwen2",
        False,
        5,
    )
    assert package.chat_templates == {"default": "D", "tool_use": "T"}
    assert package.special_tokens == {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "pad_token": "<pad>"}
    assert package.generation == {
        "eos_token_id": [5, 3], "bos_token_id": 3, "pad_token_id": 6, "temperature": 0.5, "top_k": 20,
        "do_sample": True,
    }  # fmt: skip
    assert package.remarks == ()


def test_sentencepiece_files_have_default_special_tokens(tmp_path: Path) -> None:
    package = open_package(malformed.write_sound_gguf(tmp_path))
    assert package.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert package.generation == {"eos_token_id": [2], "bos_token_id": 1}
    assert isinstance(package.tokenizer, TokenizerTables)
    assert package.tokenizer.scores[:3] == [0.0, -1.0, -2.0]


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


def test_a_size_given_per_layer_counts_where_all_are_equal(tmp_path: Path) -> None:
    for sizes, message in (([96, 96], None), ([96, 64], "differs from layer to layer")):
        array = malformed.typed(malformed.ARRAY, (malformed.I32, sizes))
        path = malformed.spoil_metadata(tmp_path, {"llama.feed_forward_length": array})
        if message is None:
            assert open_package(path).config["intermediate_size"] == 96
        else:
            with pytest.raises(UnsupportedError, match=message):
                open_package(path)


def test_mixtures_of_experts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"llama\.expert_count"):
        open_package(malformed.spoil_metadata(tmp_path, {"llama.expert_count": count(8)}))


def test_version_2_is_the_same_layout(tmp_path: Path) -> None:
    path = malformed.spoil_gguf(tmp_path, malformed.gguf_bytes(version=2))
    assert open_package(path).tensors["model.embed_tokens.weight"].shape == (2, 8)


def test_a_large_vocabulary_opens_quickly(tmp_path: Path) -> None:
    def add_vocabulary(writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list([f"token{index}" for index in range(150_000)])
        writer.add_token_merges([f"to ken{index}" for index in range(150_000)])

    write_decoder(tmp_path / "model.gguf", "llama", Q8_0, extra=add_vocabulary)
    samples = []
    for _ in range(3):
        start = time.perf_counter()
        package = open_package(tmp_path / "model.gguf")
        samples.append(time.perf_counter() - start)
    assert isinstance(package.tokenizer, TokenizerTables)
    assert len(package.tokenizer.tokens) == 150_000
    assert min(samples) < 0.5  # about 0.1 on an idle machine; shared ones vary
