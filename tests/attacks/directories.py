"""Hugging Face directories that must be refused, each by its writer and with what the message must say."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from tests.attacks.sound import (
    LLAMA_CONFIG,
    LLAMA_SHAPES,
    Writer,
    container_bytes,
    write_sound_directory,
)


def spoil_config(directory: Path, **changes: Any) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text(json.dumps(LLAMA_CONFIG | changes))
    return directory


def spoil_container(directory: Path, header: bytes | dict[str, Any], data: bytes = b"") -> Path:
    write_sound_directory(directory)
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    (directory / "model.safetensors").write_bytes(container_bytes(raw, data))
    return directory


def spoil_entry(directory: Path, **changes: Any) -> Path:
    entry = {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]} | changes
    return spoil_container(directory, {"a": entry}, bytes(24))


def write_safetensors_truncated(directory: Path) -> Path:
    write_sound_directory(directory)
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return directory


def write_safetensors_empty(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(b"")
    return directory


def write_safetensors_of_five_bytes(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(b"12345")
    return directory


def write_safetensors_header_longer_than_file(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 63) + b"{}")
    return directory


def write_safetensors_header_beyond_cap(directory: Path) -> Path:
    """A sparse file that is long enough for its 200 MB header."""
    write_sound_directory(directory)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 200_000_000))
        file.truncate(300_000_000)
    return directory


def write_safetensors_header_no_json(directory: Path) -> Path:
    return spoil_container(directory, b'{"a": ')


def write_safetensors_header_no_utf8(directory: Path) -> Path:
    return spoil_container(directory, b'{"\xff": 1}')


def write_safetensors_header_list(directory: Path) -> Path:
    return spoil_container(directory, b"[1, 2]")


def write_safetensors_header_nested(directory: Path) -> Path:
    return spoil_container(directory, b'{"a":' + b"[" * 100_000)


def write_safetensors_header_huge_number(directory: Path) -> Path:
    return spoil_container(
        directory, b'{"a": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 0]}}'
    )


def write_safetensors_duplicate_name(directory: Path) -> Path:
    entry = b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    return spoil_container(directory, b'{"a": ' + entry + b', "a": ' + entry + b"}", bytes(4))


def write_safetensors_unknown_dtype(directory: Path) -> Path:
    return spoil_entry(directory, dtype="F31")


def write_safetensors_negative_shape(directory: Path) -> Path:
    return spoil_entry(directory, shape=[-3, -2])


def write_safetensors_shape_no_list(directory: Path) -> Path:
    return spoil_entry(directory, shape={"0": 3})


def write_safetensors_overflowing_shape(directory: Path) -> Path:
    """2^32 · 2^32 wraps to 0 in 64 bits."""
    return spoil_entry(directory, shape=[2**32, 2**32, 6])


def write_safetensors_shape_wraps_to_size(directory: Path) -> Path:
    return spoil_entry(directory, shape=[2**62 + 6, 1])


def write_safetensors_too_many_axes(directory: Path) -> Path:
    return spoil_entry(directory, shape=[1] * 1000)


def write_safetensors_offsets_past_end(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[2**40, 2**40 + 24])


def write_safetensors_offsets_reversed(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[24, 0])


def write_safetensors_size_disagrees(directory: Path) -> Path:
    return spoil_entry(directory, data_offsets=[0, 20])


def write_safetensors_overlap(directory: Path) -> Path:
    entries = {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
    return spoil_container(directory, entries, bytes(24))


def write_safetensors_gap(directory: Path) -> Path:
    return spoil_entry(directory, shape=[4], data_offsets=[8, 24])


def write_safetensors_bytes_behind(directory: Path) -> Path:
    return spoil_entry(directory, shape=[4], data_offsets=[0, 16])


def write_shards_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "model-00001-of-00003.safetensors")
    return directory


def write_indexed_shards_missing(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "model-00001-of-00002.safetensors")
    names = list(LLAMA_SHAPES)
    weight_map = {name: f"model-0000{1 + (name == names[-1])}-of-00002.safetensors" for name in names}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_index_that_lies(directory: Path) -> Path:
    write_sound_directory(directory)
    weight_map = {"model.nowhere.weight": "model.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_index_that_leaves_the_directory(directory: Path) -> Path:
    write_sound_directory(directory)
    weight_map = {"a": "../../elsewhere.safetensors"}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory


def write_only_pickles(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    return directory


def write_no_weights(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "model.safetensors").unlink()
    return directory


def write_empty_directory(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def write_nothing(directory: Path) -> Path:
    return directory / "absent"


def write_config_no_json(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text("{'model_type': 'llama'}")
    return directory


def write_config_list(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text("[]")
    return directory


def write_config_nested(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "config.json").write_text('{"a":' * 100_000)
    return directory


def write_config_without_model_type(directory: Path) -> Path:
    return spoil_config(directory, model_type=None, architectures=None)


def write_config_eos_no_id(directory: Path) -> Path:
    return spoil_config(directory, eos_token_id="two")


def write_config_rope_no_object(directory: Path) -> Path:
    return spoil_config(directory, rope_scaling=[1, 2])


def write_config_quantized(directory: Path) -> Path:
    return spoil_config(directory, quantization_config={"quant_method": "gptq", "bits": 4})


def write_chat_template_number(directory: Path) -> Path:
    write_sound_directory(directory)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": 7}))
    return directory


def write_other_file(directory: Path) -> Path:
    write_sound_directory(directory)
    return directory / "model.safetensors"


REFUSED: list[tuple[Writer, str]] = [
    (write_safetensors_truncated, r"model\.safetensors: tensor 'lm_head\.weight' ends after the file does"),
    (write_safetensors_empty, r"model\.safetensors: the file is empty"),
    (write_safetensors_of_five_bytes, r"header length: expected 8 bytes, found 5"),
    (write_safetensors_header_longer_than_file, r"header length: expected at most 2 bytes, found 9223372036854775808"),
    (write_safetensors_header_beyond_cap, r"header length: expected at most 100000000 bytes, found 200000000"),
    (write_safetensors_header_no_json, r"header is not valid JSON"),
    (write_safetensors_header_no_utf8, r"header is not valid JSON .*utf-8"),
    (write_safetensors_header_list, r"header: expected a JSON object, found list"),
    (write_safetensors_header_nested, r"nested too deeply"),
    (write_safetensors_header_huge_number, r"header is not valid JSON .*digits"),
    (write_safetensors_duplicate_name, r"'a' appears twice"),
    (write_safetensors_unknown_dtype, r"dtype of tensor 'a': expected one of .*, found 'F31'"),
    (write_safetensors_negative_shape, r"shape of tensor 'a': expected a list of sizes, found \[-3, -2\]"),
    (write_safetensors_shape_no_list, r"shape of tensor 'a': expected a list of sizes"),
    (write_safetensors_overflowing_shape, r"tensor 'a' ends after the file does"),
    (write_safetensors_shape_wraps_to_size, r"shape of tensor 'a': expected sizes from 0 to"),
    (write_safetensors_too_many_axes, r"axes of tensor 'a': expected at most 8, found 1000"),
    (write_safetensors_offsets_past_end, r"tensor 'a' ends after the file does"),
    (write_safetensors_offsets_reversed, r"data_offsets of tensor 'a': expected \[begin, end\], found \[24, 0\]"),
    (write_safetensors_size_disagrees, r"data_offsets of tensor 'a': expected 24 bytes .*, found 20 bytes"),
    (write_safetensors_overlap, r"tensor 'b' overlaps the tensor before it"),
    (write_safetensors_gap, r"tensor 'a' leaves a gap before it"),
    (write_safetensors_bytes_behind, r"bytes behind the last tensor: expected 16 bytes of data, found 24"),
    (write_shards_missing, r"2 of 3 weight files are missing: found no model-00002-of-00003\.safetensors"),
    (write_indexed_shards_missing, r"1 of 2 weight files are missing: found no model-00002-of-00002\.safetensors"),
    (write_index_that_lies, r"weight_map entry 'model\.nowhere\.weight': expected a tensor of model\.safetensors"),
    (write_index_that_leaves_the_directory, r"weight_map entry 'a': expected the name of a safetensors file"),
    (write_only_pickles, r"pickled.*expected \*\.safetensors; convert"),
    (write_no_weights, r"no weights: expected \*\.safetensors"),
    (write_empty_directory, r"no model package: .* found an empty directory"),
    (write_nothing, r"absent: no such file or directory; give a model directory or a \.gguf file"),
    (write_config_no_json, r"config\.json: not valid JSON"),
    (write_config_list, r"config\.json: content: expected a JSON object, found list"),
    (write_config_nested, r"config\.json: not valid JSON \(nested too deeply\)"),
    (write_config_without_model_type, r"config\.json: model_type: expected the name of a model family"),
    (write_config_eos_no_id, r"config\.json: eos_token_id: expected a token id or a list of them, found 'two'"),
    (write_config_rope_no_object, r"config\.json: rope_scaling: expected an object"),
    (write_config_quantized, r"config\.json: quantized weights .* found quant_method 'gptq'"),
    (write_chat_template_number, r"tokenizer_config\.json: chat_template: expected a template"),
    (write_other_file, r"model\.safetensors: not a model package: .*give the directory it lies in"),
]
