"""GGUF files that must be refused, each by its writer and with what the message must say."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.attacks.sound import (
    ARRAY,
    F32,
    GGML_F32,
    GGML_Q4_K,
    I32,
    LLAMA_METADATA,
    STRING,
    U16,
    U32,
    Writer,
    gguf_bytes,
    sound_gguf,
    string,
    tensor_info,
    typed,
    write_sound_gguf,
)


def spoil_gguf(directory: Path, content: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.gguf"
    path.write_bytes(content)
    return path


def spoil_metadata(directory: Path, changes: dict[str, bytes]) -> Path:
    return spoil_gguf(directory, gguf_bytes(LLAMA_METADATA | changes))


def spoil_tensor(directory: Path, name: str, shape: tuple[int, ...], kind: int, offset: int) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info(name, shape, kind, offset)]))


def write_gguf_empty(directory: Path) -> Path:
    return spoil_gguf(directory, b"")


def write_gguf_wrong_magic(directory: Path) -> Path:
    return spoil_gguf(directory, b"GGML" + sound_gguf()[4:])


def write_gguf_truncated_in_header(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf()[:300])


def write_gguf_truncated_in_data(directory: Path) -> Path:
    return spoil_gguf(directory, sound_gguf()[:-1000])


def write_gguf_version_1(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(version=1))


def write_gguf_big_endian(directory: Path) -> Path:
    return spoil_gguf(directory, b"GGUF" + struct.pack(">IQQ", 3, 1, 1) + bytes(64))


def write_gguf_absurd_tensor_count(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(n_tensors=2**61))


def write_gguf_absurd_metadata_count(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(n_values=2**64 - 1))


def write_gguf_absurd_string_length(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.name": struct.pack("<IQ", STRING, 2**64 - 1)})


def write_gguf_absurd_array_length(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.scores": struct.pack("<IIQ", ARRAY, F32, 2**62)})


def write_gguf_absurd_string_in_array(directory: Path) -> Path:
    lying = struct.pack("<IIQ", ARRAY, STRING, 3) + string("a") + struct.pack("<Q", 2**63)
    return spoil_metadata(directory, {"tokenizer.ggml.tokens": lying})


def write_gguf_nested_array(directory: Path) -> Path:
    return spoil_metadata(directory, {"x.y": struct.pack("<IIQ", ARRAY, ARRAY, 1) + bytes(12)})


def write_gguf_unknown_value_type(directory: Path) -> Path:
    return spoil_metadata(directory, {"x.y": struct.pack("<II", 77, 0)})


def write_gguf_duplicate_key(directory: Path) -> Path:
    twice = typed(U32, 1) + string("x.y") + typed(U32, 1)
    return spoil_gguf(directory, gguf_bytes(LLAMA_METADATA | {"x.y": twice}, n_values=len(LLAMA_METADATA) + 2))


def write_gguf_key_no_utf8(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes().replace(b"general.name", b"general.n\xff\xfee"))


def write_gguf_absurd_alignment(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 2**31)})


def write_gguf_alignment_zero(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 0)})


def write_gguf_alignment_no_power_of_two(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(U32, 48)})


def write_gguf_alignment_text(directory: Path) -> Path:
    return spoil_metadata(directory, {"general.alignment": typed(STRING, "32")})


def write_gguf_too_many_axes(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 1, 1, 1, 8), GGML_F32, 0)


def write_gguf_overflowing_dimensions(directory: Path) -> Path:
    """The product wraps to 16 in 64 bits."""
    return spoil_tensor(directory, "token_embd.weight", (2**32 + 1, 2**32, 16), GGML_F32, 0)


def write_gguf_size_past_end(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1000, 8), GGML_F32, 0)


def write_gguf_zero_dimension(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (0, 8), GGML_F32, 0)


def write_gguf_offset_past_end(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (2, 8), GGML_F32, 2**63)


def write_gguf_offset_unaligned(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 8), GGML_F32, 4)


def write_gguf_unknown_tensor_type(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (2, 8), 99, 0)


def write_gguf_row_no_multiple_of_block(directory: Path) -> Path:
    return spoil_tensor(directory, "token_embd.weight", (1, 200), GGML_Q4_K, 0)


def write_gguf_duplicate_tensor(directory: Path) -> Path:
    infos = [tensor_info("a.weight", (8,), GGML_F32, offset) for offset in (0, 32)]
    return spoil_gguf(directory, gguf_bytes(infos=infos))


def write_gguf_overlapping_tensors(directory: Path) -> Path:
    infos = [tensor_info("a.weight", (16,), GGML_F32, 0), tensor_info("b.weight", (8,), GGML_F32, 32)]
    return spoil_gguf(directory, gguf_bytes(infos=infos))


def write_gguf_without_architecture(directory: Path) -> Path:
    metadata = {key: value for key, value in LLAMA_METADATA.items() if key != "general.architecture"}
    return spoil_gguf(directory, gguf_bytes(metadata))


def write_gguf_without_heads(directory: Path) -> Path:
    metadata = {key: value for key, value in LLAMA_METADATA.items() if key != "llama.attention.head_count"}
    return spoil_gguf(directory, gguf_bytes(metadata))


def write_gguf_zero_heads(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.attention.head_count": typed(U32, 0)})


def write_gguf_absurd_layer_count(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.block_count": typed(U32, 2**32 - 1)})


def write_gguf_heads_as_text(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.attention.head_count": typed(STRING, "four")})


def write_gguf_heads_that_do_not_divide(directory: Path) -> Path:
    return spoil_gguf(
        directory,
        gguf_bytes(
            LLAMA_METADATA | {"llama.attention.head_count": typed(U32, 5), "llama.attention.key_length": typed(U32, 8)},
            [tensor_info("blk.0.attn_q.weight", (2, 8), GGML_F32, 0)],
        ),
    )


def write_gguf_rotation_beyond_the_head(directory: Path) -> Path:
    """2^31 rotary dimensions were once computed before the tensors were looked at: minutes, and all of the memory."""
    return spoil_metadata(directory, {"llama.rope.dimension_count": typed(U32, 2**31)})


def write_gguf_unknown_rope_scaling(directory: Path) -> Path:
    return spoil_metadata(directory, {"llama.rope.scaling.type": typed(STRING, "spiral")})


def write_gguf_rope_divisors_of_wrong_length(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info("rope_freqs.weight", (3,), GGML_F32, 0)]))


def write_gguf_rope_divisors_zero(directory: Path) -> Path:
    return spoil_gguf(directory, gguf_bytes(infos=[tensor_info("rope_freqs.weight", (4,), GGML_F32, 0)]))


def write_gguf_scores_too_short(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.scores": typed(ARRAY, (F32, [0.0, 1.0]))})


def write_gguf_tokens_are_numbers(directory: Path) -> Path:
    return spoil_metadata(directory, {"tokenizer.ggml.tokens": typed(ARRAY, (I32, [1, 2, 3]))})


def write_gguf_part_missing(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model-00001-of-00003.gguf"
    path.write_bytes(gguf_bytes(LLAMA_METADATA | {"split.count": typed(U16, 3), "split.no": typed(U16, 0)}))
    return path


def write_gguf_part_renamed(directory: Path) -> Path:
    return spoil_metadata(directory, {"split.count": typed(U16, 3), "split.no": typed(U16, 0)})


def write_gguf_parts_of_wrong_total(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"model-0000{number + 1}-of-00002.gguf" for number in range(2)]
    for number, path in enumerate(paths):
        split = {"split.count": typed(U16, 2), "split.no": typed(U16, number), "split.tensors.count": typed(I32, 5)}
        path.write_bytes(gguf_bytes(LLAMA_METADATA | split, [tensor_info(f"t{number}.weight", (8,), GGML_F32, 0)]))
    return paths[0]


def write_several_ggufs(directory: Path) -> Path:
    write_sound_gguf(directory)
    (directory / "other.gguf").write_bytes(sound_gguf())
    return directory


REFUSED: list[tuple[Writer, str]] = [
    (write_gguf_empty, r"model\.gguf: the file is empty"),
    (write_gguf_wrong_magic, r"first bytes: expected b'GGUF', found b'GGML'"),
    (write_gguf_truncated_in_header, r"model\.gguf: .*damaged or was not downloaded completely"),
    (write_gguf_truncated_in_data, r"tensor '[\w.]+' ends after the file does"),
    (write_gguf_version_1, r"GGUF version: expected 2 or 3, found 1"),
    (write_gguf_big_endian, r"byte order: expected little-endian, found big-endian"),
    (write_gguf_absurd_tensor_count, r"number of tensors: expected at most \d+, found 2305843009213693952"),
    (write_gguf_absurd_metadata_count, r"number of metadata values: expected at most \d+, found 18446744073709551615"),
    (write_gguf_absurd_string_length, r"length of metadata 'general\.name': expected at most \d+"),
    (write_gguf_absurd_array_length, r"length of metadata 'tokenizer\.ggml\.scores': expected at most \d+"),
    (write_gguf_absurd_string_in_array, r"metadata 'tokenizer\.ggml\.tokens'\[1\]: expected at most \d+ bytes"),
    (write_gguf_nested_array, r"element type of metadata 'x\.y': .* found an array of arrays"),
    (write_gguf_unknown_value_type, r"type of metadata 'x\.y': expected 0 to 12, found 77"),
    (write_gguf_duplicate_key, r"metadata key 'x\.y' appears twice"),
    (write_gguf_key_no_utf8, r"metadata key 1: expected UTF-8"),
    (write_gguf_absurd_alignment, r"'general\.alignment': expected a whole number from 1 to 1048576, found 2147483648"),
    (write_gguf_alignment_zero, r"'general\.alignment': expected a whole number from 1"),
    (write_gguf_alignment_no_power_of_two, r"general\.alignment: expected a power of two, found 48"),
    (write_gguf_alignment_text, r"'general\.alignment': expected a whole number"),
    (write_gguf_too_many_axes, r"axes of tensor 'token_embd\.weight': expected at most 4, found 5"),
    (write_gguf_overflowing_dimensions, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_size_past_end, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_zero_dimension, r"shape of tensor 'token_embd\.weight': expected sizes above 0"),
    (write_gguf_offset_past_end, r"tensor 'token_embd\.weight' ends after the file does"),
    (write_gguf_offset_unaligned, r"offset of tensor 'token_embd\.weight': expected a multiple of 32, found 4"),
    (write_gguf_unknown_tensor_type, r"type of tensor 'token_embd\.weight': expected one of .*, found id 99"),
    (write_gguf_row_no_multiple_of_block, r"row length .*: expected a multiple of 256 for Q4_K, found \[1, 200\]"),
    (write_gguf_duplicate_tensor, r"tensor 'a\.weight' appears twice"),
    (write_gguf_overlapping_tensors, r"tensors 'a\.weight' and 'b\.weight' overlap at offset 32"),
    (write_gguf_without_architecture, r"metadata 'general\.architecture' is missing"),
    (write_gguf_without_heads, r"metadata 'llama\.attention\.head_count' is missing"),
    (write_gguf_zero_heads, r"'llama\.attention\.head_count': expected a whole number from 1 .*, found 0"),
    (
        write_gguf_rotation_beyond_the_head,
        r"rope\.dimension_count': expected a whole number from 1 to 8, found 2147483648",
    ),
    (write_gguf_absurd_layer_count, r"'llama\.block_count': expected a whole number from 1 to 10000, found 4294967295"),
    (write_gguf_heads_as_text, r"'llama\.attention\.head_count': expected a whole number .*, found 'four'"),
    (write_gguf_heads_that_do_not_divide, r"'blk\.0\.attn_q\.weight': expected a multiple of 10 rows for 5 heads"),
    (write_gguf_unknown_rope_scaling, r"llama\.rope\.scaling\.type: expected none, linear or yarn, found spiral"),
    (write_gguf_rope_divisors_of_wrong_length, r"'rope_freqs\.weight': expected \[4\], found \[3\]"),
    (write_gguf_rope_divisors_zero, r"tensor 'rope_freqs\.weight': expected finite numbers above 0"),
    (write_gguf_scores_too_short, r"'tokenizer\.ggml\.scores': expected 40 entries, one per token, found 2"),
    (write_gguf_tokens_are_numbers, r"'tokenizer\.ggml\.tokens': expected an array of strings, found an array of 3"),
    (write_gguf_part_missing, r"parts of the split model are missing: .* found no model-00002-of-00003\.gguf, model-0"),
    (write_gguf_part_renamed, r"split\.count: expected 1, by the file's name, found 3"),
    (write_gguf_parts_of_wrong_total, r"split\.tensors\.count: expected 5, found 2 tensors in all parts"),
    (write_several_ggufs, r"several models: expected one \.gguf, found model\.gguf, other\.gguf; name the file"),
]
