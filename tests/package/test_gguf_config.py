"""What GGUF metadata becomes: rotary settings, sizes, tokenizer tables, stop ids, templates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from nearlight.dtypes import Q8_0
from nearlight.errors import UnsupportedError
from nearlight.kernels.count import CountOps
from nearlight.models import build_model
from nearlight.package import TokenizerTables, open_package
from tests.attacks import ggufs, models, sound
from tests.package.gguf_files import (
    HEAD_DIM,
    decoder_shapes,
    write_decoder,
)


def rope(tmp_path: Path, **metadata: bytes) -> dict[str, Any]:
    changes = {f"llama.rope.{key}": value for key, value in metadata.items()}
    result: dict[str, Any] = open_package(ggufs.spoil_metadata(tmp_path, changes)).config["rope_parameters"]
    return result


def number(value: float) -> bytes:
    return sound.typed(sound.F32, value)


def count(value: int) -> bytes:
    return sound.typed(sound.U32, value)


def text(value: str) -> bytes:
    return sound.typed(sound.STRING, value)


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
    assert len(package.warnings) == 1


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
    assert package.warnings == ()


def test_sentencepiece_files_have_default_special_tokens(tmp_path: Path) -> None:
    package = open_package(sound.write_sound_gguf(tmp_path))
    assert package.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    assert package.generation == {"eos_token_id": [2], "bos_token_id": 1}
    assert isinstance(package.tokenizer, TokenizerTables)
    assert package.tokenizer.scores[:3] == [0.0, -1.0, -2.0]


def test_a_size_given_per_layer_counts_where_all_are_equal(tmp_path: Path) -> None:
    for sizes, message in (([96, 96], None), ([96, 64], "differs from layer to layer")):
        array = sound.typed(sound.ARRAY, (sound.I32, sizes))
        path = ggufs.spoil_metadata(tmp_path, {"llama.feed_forward_length": array})
        if message is None:
            assert open_package(path).config["intermediate_size"] == 96
        else:
            with pytest.raises(UnsupportedError, match=message):
                open_package(path)


def test_a_window_of_none_is_no_window(tmp_path: Path) -> None:
    for size, window in ((0, None), (17, 17)):
        path = ggufs.spoil_metadata(tmp_path / str(size), {"llama.attention.sliding_window": count(size)})
        config = open_package(path).config
        assert (config.get("sliding_window"), config.get("use_sliding_window", False)) == (window, window is not None)


def test_llama_with_experts_is_mixtral(tmp_path: Path) -> None:
    changes = {"llama.expert_count": count(8), "llama.expert_used_count": count(2)}
    config = open_package(ggufs.spoil_metadata(tmp_path, changes)).config
    assert config["model_type"] == "mixtral"
    assert (config["num_local_experts"], config["num_experts_per_tok"]) == (8, 2)


def test_files_of_unknown_architectures_show_what_they_have(tmp_path: Path) -> None:
    package = open_package(models.write_gguf_unknown_family(tmp_path))
    assert package.model_type == "perceptron"
    assert {"token_embd.weight", "blk.0.attn_q.weight"} <= package.tensors.keys()
    with pytest.raises(UnsupportedError, match="neither run nor plan models of the family perceptron"):
        build_model(CountOps(), package.config)


QWEN35 = {
    "ssm.conv_kernel": 4,
    "ssm.state_size": 16,
    "ssm.group_count": 2,
    "ssm.time_step_rank": 6,
    "ssm.inner_size": 96,
    "full_attention_interval": 2,
    "rope.dimension_count": 16,
}


@pytest.mark.parametrize("architecture", ["qwen35", "qwen3next"])
def test_layers_of_gated_delta_nets(tmp_path: Path, architecture: str) -> None:
    """Blocks behind the layers guess further tokens; a list says which layers are recurrent, before any interval."""

    def add(writer: gguf.GGUFWriter, layers: list[bool] | None) -> None:
        for key, size in QWEN35.items():
            writer.add_uint32(f"{architecture}.{key}", size)
        writer.add_uint32(f"{architecture}.nextn_predict_layers", 1)
        if layers:
            writer.add_array(f"{architecture}.attention.recurrent_layers", layers)

    for name, layers in (("list", [True, False]), ("interval", None)):
        path = tmp_path / f"{name}.gguf"
        write_decoder(path, architecture, Q8_0, {}, lambda writer, layers=layers: add(writer, layers))
        config = open_package(path).config
        assert (config["num_hidden_layers"], config["full_attention_interval"]) == (1, 2)
        assert config.get("layer_types") == (["linear_attention"] if layers else None)
        heads = ("linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim")
        assert [config[key] for key in heads] == [2, 6, 16, 16]
        assert config["rope_parameters"]["partial_rotary_factor"] == 0.25
        assert (config["linear_heads_tiled"], config["linear_gates_alone"]) == (
            architecture == "qwen35",
            architecture == "qwen3next",
        )


def test_windows_of_olmo_3_are_read(tmp_path: Path) -> None:
    def add(writer: gguf.GGUFWriter) -> None:
        writer.add_array("olmo2.attention.sliding_window_pattern", [True, False])

    write_decoder(tmp_path / "model.gguf", "olmo2", Q8_0, {}, add)
    config = open_package(tmp_path / "model.gguf").config
    assert (config["model_type"], config["layer_types"]) == ("olmo3", ["sliding_attention", "full_attention"])
