"""Hugging Face directories: written by transformers, read here, compared tensor by tensor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from nearlight import formats
from nearlight.errors import NearlightError, UnsupportedError
from nearlight.package import Package, StoredTensor, TokenizerFiles, open_package
from tests.attacks import sound

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(
        vocab_size=71, hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=14, max_position_embeddings=64,
    ),
    "qwen2": Qwen2Config(
        vocab_size=71, hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True,
    ),
    "qwen3": Qwen3Config(
        vocab_size=71, hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=14, max_position_embeddings=64,
    ),
    "gpt2": GPT2Config(vocab_size=71, n_embd=36, n_layer=2, n_head=3, n_positions=64, n_inner=50),
}  # fmt: skip


def random_model(config: PreTrainedConfig, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():  # also what would be initialised with ones and zeros
            parameter.copy_(torch.randn(parameter.shape))
    return model


def values(tensor: StoredTensor) -> np.ndarray:
    return formats.dequantize(tensor.format, tensor.read(), tensor.row_length).reshape(tensor.shape)


def expected_tensors(model: Any) -> dict[str, np.ndarray]:
    """Weights as the package promises them: [out, in], without the copy that a tied head is."""
    tensors = {}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = parameter.float().numpy()
        is_conv1d = model.config.model_type == "gpt2" and array.ndim == 2 and ".h." in name
        tensors[name] = array.T if is_conv1d else array
    return tensors


def assert_same_tensors(package: Package, model: Any) -> None:
    expected = expected_tensors(model)
    assert set(package.tensors) == set(expected)
    for name, array in expected.items():
        assert package.tensors[name].name == name
        np.testing.assert_array_equal(values(package.tensors[name]), array, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_every_tensor_reads_as_transformers_wrote_it(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    model = random_model(CONFIGS[family], dtype)
    model.save_pretrained(tmp_path)
    package = open_package(tmp_path)
    assert (package.kind, package.model_type) == ("huggingface", family)
    assert_same_tensors(package, model)


@pytest.mark.parametrize("family", CONFIGS)
def test_shards_are_one_model(tmp_path: Path, family: str) -> None:
    model = random_model(CONFIGS[family])
    model.save_pretrained(tmp_path, max_shard_size="20kB")
    package = open_package(tmp_path)
    assert len(package.files) > 2
    assert_same_tensors(package, model)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert_same_tensors(open_package(str(tmp_path)), model)


def test_tensors_are_views_of_the_file(tmp_path: Path) -> None:
    tensor = open_package(sound.write_sound_directory(tmp_path)).tensors["lm_head.weight"]
    assert not tensor.read().flags.owndata
    assert not tensor.read().flags.writeable


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_names_without_the_prefix_get_it(tmp_path: Path, family: str) -> None:
    model = random_model(CONFIGS[family])
    base = model.model if family == "llama" else model.transformer
    base.save_pretrained(tmp_path)
    package = open_package(tmp_path)
    expected = expected_tensors(model)
    assert set(package.tensors) == set(expected) - {"lm_head.weight"}
    name = next(name for name in expected if "mlp" in name)
    np.testing.assert_array_equal(values(package.tensors[name]), expected[name])


def test_buffers_are_no_tensors(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    spoiled = sound.weights() | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4)}
    (tmp_path / "model.safetensors").write_bytes(sound.safetensors_bytes(spoiled))
    assert set(open_package(tmp_path).tensors) == set(sound.LLAMA_SHAPES)

    gpt2 = {"h.0.attn.bias": np.ones((1, 1, 5, 5)), "h.0.attn.masked_bias": np.ones(1), "h.0.ln_1.bias": np.ones(7)}
    (tmp_path / "model.safetensors").write_bytes(sound.safetensors_bytes(gpt2))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert set(open_package(tmp_path).tensors) == {"transformer.h.0.ln_1.bias"}


# --- which files ------------------------------------------------------------------------------------------------------


def test_a_stale_index_is_ignored(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    package = open_package(tmp_path)
    assert set(package.tensors) == set(sound.LLAMA_SHAPES)
    assert any("index.json names files that are not here" in warning for warning in package.warnings)


def test_a_consolidated_copy_is_ignored(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    (tmp_path / "consolidated.safetensors").write_bytes(sound.safetensors_bytes({"tok.weight": np.ones((2, 3))}))
    package = open_package(tmp_path)
    assert set(package.tensors) == set(sound.LLAMA_SHAPES)
    assert any("consolidated" in warning for warning in package.warnings)


def test_one_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    (tmp_path / "again.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    with pytest.raises(NearlightError, match=r"is in again\.safetensors and in model\.safetensors"):
        open_package(tmp_path)


# --- config -----------------------------------------------------------------------------------------------------------


def config_with(tmp_path: Path, **changes: Any) -> Package:
    sound.write_sound_directory(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(sound.LLAMA_CONFIG | changes))
    return open_package(tmp_path)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, {"rope_type": "default"}),
        ({"rope_theta": 5e5}, {"rope_type": "default", "rope_theta": 5e5}),
        (
            {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0},
        ),
        (
            {"rope_scaling": {"rope_type": "yarn", "type": "yarn", "factor": 4.0}, "rope_theta": 1e6},
            {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0},
        ),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5}}, {"rope_type": "llama3", "rope_theta": 5e5}),
        ({"rope_scaling": None, "partial_rotary_factor": 0.5}, {"rope_type": "default", "partial_rotary_factor": 0.5}),
        ({"rope_scaling": {"type": "su"}}, {"rope_type": "longrope"}),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_type": "default"}}},
            {
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default"},
            },
        ),
    ],
)
def test_rotary_settings_of_every_era_become_one_dict(
    tmp_path: Path, written: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = config_with(tmp_path, **written).config
    assert config["rope_parameters"] == expected
    assert "rope_theta" not in config
    assert "rope_scaling" not in config


def test_transformers_own_spelling_is_kept(tmp_path: Path) -> None:
    CONFIGS["llama"].save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    sound.write_sound_directory(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text((tmp_path / "config.json").read_text())
    package = open_package(tmp_path / "model")
    assert package.config["rope_parameters"] == config.rope_parameters
    assert package.config["head_dim"] == 14


def test_gpt2_keeps_its_own_keys(tmp_path: Path) -> None:
    random_model(CONFIGS["gpt2"]).save_pretrained(tmp_path)
    config = open_package(tmp_path).config
    assert (config["n_embd"], config["n_layer"], config["n_head"], config["n_inner"]) == (36, 2, 3, 50)


def test_the_class_name_stands_in_for_a_missing_model_type(tmp_path: Path) -> None:
    assert config_with(tmp_path, model_type=None).model_type == "llama"


def test_non_finite_numbers_are_read_in_both_spellings(tmp_path: Path) -> None:
    package = config_with(tmp_path, a={"__float__": "Infinity"}, b=float("-inf"))
    assert (package.config["a"], package.config["b"]) == (float("inf"), float("-inf"))


@pytest.mark.parametrize("method", ["gptq", "awq", "exl2", "fp8", "bitnet"])
def test_quantized_weights_are_refused_by_method(tmp_path: Path, method: str) -> None:
    with pytest.raises(UnsupportedError, match=method):
        config_with(tmp_path, quantization_config={"quant_method": method})


def test_bitsandbytes_without_its_name_is_recognized(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="bitsandbytes"):
        config_with(tmp_path, quantization_config={"load_in_4bit": True})


def test_stop_ids_of_both_files_are_united(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    settings = {"eos_token_id": [7, 5], "temperature": 0.6, "top_k": None}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    generation = config_with(tmp_path, eos_token_id=3, bos_token_id=1).generation
    assert generation == {"eos_token_id": [7, 5, 3], "temperature": 0.6, "bos_token_id": 1}


def test_no_stop_id_is_no_key(tmp_path: Path) -> None:
    assert config_with(tmp_path).generation == {}


def test_a_hub_snapshot_is_called_by_its_hub_id(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--some--model-1B" / "snapshots" / "0a1b"
    assert open_package(sound.write_sound_directory(snapshot)).name == "some/model-1B"
    assert open_package(sound.write_sound_directory(tmp_path / "mine")).name == "mine"


# --- text -------------------------------------------------------------------------------------------------------------


def test_a_package_without_tokenizer_opens(tmp_path: Path) -> None:
    package = open_package(sound.write_sound_directory(tmp_path))
    assert package.tokenizer is None
    assert package.warnings == ("no tokenizer: token ids in, logits out",)


@pytest.mark.parametrize(
    ("present", "layout"),
    [
        ({"tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt"}, "tokenizer.json"),
        ({"tokenizer.model", "vocab.json", "merges.txt"}, "sentencepiece"),
        ({"vocab.json", "merges.txt"}, "vocab+merges"),
        ({"vocab.json"}, None),
    ],
)
def test_the_most_complete_tokenizer_layout_is_chosen(tmp_path: Path, present: set[str], layout: str | None) -> None:
    sound.write_sound_directory(tmp_path)
    for name in present:
        (tmp_path / name).write_text("{}")
    tokenizer = open_package(tmp_path).tokenizer
    if layout is None:
        assert tokenizer is None
    else:
        assert tokenizer == TokenizerFiles(layout, tmp_path, {})


def test_tokenizer_settings_are_merged_and_special_tokens_found(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    files: dict[str, Any] = {
        "tokenizer.json": {},
        "added_tokens.json": {"<x>": 7},
        "special_tokens_map.json": {"bos_token": "<old>", "unk_token": {"content": "<unk>", "lstrip": False}},
        "tokenizer_config.json": {"bos_token": "<s>", "eos_token": None, "add_bos_token": True, "pad_token": "<pad>"},
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    package = open_package(tmp_path)
    assert package.special_tokens == {"bos_token": "<s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    assert isinstance(package.tokenizer, TokenizerFiles)
    assert package.tokenizer.settings["added_tokens"] == {"<x>": 7}
    assert package.tokenizer.settings["add_bos_token"] is True


def test_chat_templates_are_found_in_every_place(tmp_path: Path) -> None:
    sound.write_sound_directory(tmp_path)
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "old"}))
    assert open_package(tmp_path).chat_templates == {"default": "old"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert open_package(tmp_path).chat_templates == {"default": "A", "tool_use": "B"}
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("C")
    (tmp_path / "chat_template.jinja").write_text("Ü")
    assert open_package(tmp_path).chat_templates == {"default": "Ü", "tool_use": "B", "rag": "C"}
