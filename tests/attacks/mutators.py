"""Ways to spoil a package that know what is where: numbers become edges, values other types, headers lie.

A mutation of plain bytes mostly ends in the parser. These leave the file well-formed more often than not, so that what
is wrong reaches the model, the tokenizer, the template and the first step.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from tests.attacks import sound
from tests.attacks.families import Parts, sound_parts

EDGES: list[Any] = [
    0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 4095, 65535, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1,
    2**62, 2**63 - 1, 2**63, 2**64 - 1, 10**40, 10**400, 0.5, -0.0, 1e-45, 1e-320, 1e38, 1e300,
    float("nan"), float("inf"), float("-inf"),
]  # fmt: skip
TEXTS = [
    "", "\0", " ", "a" * 200_000, "▁" * 5000, "é\u202e\x1b[2J", "\ud800", "../../etc/passwd", "{{ 'x' * 999999999 }}",
    "{% for i in range(999999999) %}x{% endfor %}",
    "{% set a = [1] %}{% for i in range(40) %}{% set a = a + a %}{% endfor %}",
    "(a+)+$", "(a{1,1000}){1,1000}", "[[:alpha:", "linear", "yarn", "dynamic", "default", "llama3", "longrope", "llama",
    "gpt2", "qwen2", "mixtral", "-1", "1e999", "None",
]  # fmt: skip
MORE_KEYS = {
    "config.json": [
        "head_dim", "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "sliding_window",
        "use_sliding_window", "layer_types", "max_window_layers", "n_inner", "attention_bias", "mlp_bias",
        "eos_token_id", "bos_token_id",
        "tie_word_embeddings", "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "architectures",
        "quantization_config", "hidden_act", "torch_dtype", "num_key_value_heads", "text_config", "num_experts_per_tok",
        "attention_chunk_size", "moe_layers", "no_rope_layers", "original_max_position_embeddings", "floor_scale",
    ],
    "generation_config.json": ["suppress_tokens", "no_repeat_ngram_size", "typical_p", "stop_strings", "num_beams"],
    "tokenizer.json": ["padding", "truncation"],
    "tokenizer_config.json": ["extra_special_tokens", "additional_special_tokens", "legacy", "unk_token"],
}  # fmt: skip
GGUF_KEYS = [
    "general.alignment", "split.count", "split.no", "split.tensors.count",
    "tokenizer.ggml.pre", "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.eot_token_id", "tokenizer.ggml.padding_token_id", "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.ggml.added_tokens", "general.sampling.top_p", "general.sampling.penalty_repeat", "general.file_type",
]  # fmt: skip
GGUF_ARCHITECTURE_KEYS = [
    "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scale_linear", "rope.freq_base", "vocab_size",
    "attention.sliding_window", "attention.head_count_kv", "attention.key_length", "expert_count",
]  # fmt: skip
ROPES = [
    {"rope_type": kind, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "beta_fast": 32, "beta_slow": 1,
     "original_max_position_embeddings": 24, "mscale": 1.0, "mscale_all_dim": 0.5, "divisors": [1.0] * 8,
     "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    for kind in ("linear", "dynamic", "llama3", "yarn", "divisors", "default", "longrope")
]  # fmt: skip

Random = np.random.Generator

N_SWEPT = 32
LARGE = [2**31 - 2, 2**24, 9998]


def spoiled(kind: str, number: int) -> tuple[dict[str, bytes], str]:
    """Give the files of case `number` of a kind of package, and which of them is opened.

    The first cases go through the sizes one by one and make each a number that is believed at one's peril.
    """
    rng = np.random.default_rng([number, *kind.encode()])
    parts = sound_parts(kind)
    if number < N_SWEPT:
        _sweep(parts, number)
        return parts.contents(), parts.source
    ways = [_metadata] * 3 + [_tensors] if parts.gguf else [_document] * 5 + [_container]
    for _ in range(1 if rng.random() < 0.6 else int(rng.integers(1, 4))):
        pick(rng, ways)(parts, rng)
    contents = parts.contents()
    if rng.random() < 0.12:
        _bytes(contents, rng)
    return contents, parts.source


def pick(rng: Random, items: Any) -> Any:
    return items[int(rng.integers(0, len(items)))]


def _sweep(parts: Parts, number: int) -> None:
    if parts.gguf:
        values = parts.gguf.values
        places = [at for at, (_, kind, _) in enumerate(values) if kind in (sound.U32, sound.I32)]
        at = places[number % len(places)]
        values[at] = (*values[at][:2], LARGE[number // len(places) % len(LARGE)])
        return
    config = parts.documents["config.json"]
    keys = [key for key, value in config.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    config[keys[number % len(keys)]] = LARGE[number // len(keys) % len(LARGE)]


# -- JSON --------------------------------------------------------------------------------------------------------------


def _document(parts: Parts, rng: Random) -> None:
    name = "config.json" if rng.random() < 0.4 else pick(rng, sorted(parts.documents))
    document = parts.documents.get(name)
    if not isinstance(document, dict):
        return
    if name in MORE_KEYS and rng.random() < 0.3:
        key = pick(rng, MORE_KEYS[name])
        document[key] = dict(pick(rng, ROPES)) if key.startswith("rope_") and rng.random() < 0.7 else odd_value(rng)
        return
    parts.documents[name] = spoil_value(document, rng)
    if rng.random() < 0.05 and document:
        key = pick(rng, list(document))
        text = json.dumps(document)
        parts.files[name] = f"{{{json.dumps(key)}: {json.dumps(odd_value(rng))}, {text[1:]}".encode()
        del parts.documents[name]


def odd_value(rng: Random) -> Any:
    """Give an edge of a number, an awkward text, or another type of value."""
    chance = rng.random()
    if chance < 0.5:
        return pick(rng, EDGES)
    if chance < 0.7:
        return pick(rng, TEXTS)
    others: list[Any] = [None, True, False, [], {}, [[]], {"a": {}}, [pick(rng, EDGES)] * 3, ["a", 1, None], [0] * 5000]
    return pick(rng, others)


def spoil_value(value: Any, rng: Random) -> Any:
    """Spoil one place in a JSON value: go down by chance, and stop by chance."""
    if isinstance(value, dict) and value and rng.random() < 0.97:
        key = pick(rng, list(value))
        chance = rng.random()
        if chance < 0.06:
            return {k: v for k, v in value.items() if k != key}
        if chance < 0.1:
            return value | {str(odd_value(rng))[:99]: value[key]}
        if chance < 0.14:
            return value | {key: value[pick(rng, list(value))]}
        return value | {key: spoil_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = int(rng.integers(0, len(value)))
        if rng.random() < 0.1:
            return value * 50
        return [*value[:at], spoil_value(value[at], rng), *value[at + 1 :]]
    return odd_value(rng)


# -- safetensors -------------------------------------------------------------------------------------------------------


def _container(parts: Parts, rng: Random) -> None:
    names = [name for name in parts.files if name.endswith(".safetensors")]
    name = pick(rng, names)
    content = parts.files[name]
    end = 8 + int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8:end])
    except ValueError:
        return
    raw = json.dumps(spoil_value(header, rng)).encode()
    length = (
        int(pick(rng, [0, 1, len(raw) - 1, len(raw) + 1, 2**31, 2**63, 2**64 - 1])) if rng.random() < 0.1 else len(raw)
    )
    parts.files[name] = struct.pack("<Q", max(0, length)) + raw + content[end:]


# -- GGUF --------------------------------------------------------------------------------------------------------------

_RANGES = {
    sound.U8: (0, 2**8), sound.I8: (-(2**7), 2**7), sound.U16: (0, 2**16), sound.I16: (-(2**15), 2**15),
    sound.U32: (0, 2**32), sound.I32: (-(2**31), 2**31), sound.U64: (0, 2**64),
}  # fmt: skip


def _typed_edge(rng: Random) -> tuple[int, Any]:
    kind = int(
        pick(
            rng,
            [sound.U32, sound.U32, sound.I32, sound.F32, sound.U64, sound.BOOL, sound.STRING, sound.ARRAY, sound.U8],
        )
    )
    if kind == sound.STRING:
        return kind, pick(rng, TEXTS).encode("utf-8", "surrogatepass")
    if kind == sound.ARRAY:
        element, value = _typed_edge(rng)
        return (
            (kind, (element, [value] * int(pick(rng, [0, 1, 2, 300]))))
            if element != sound.ARRAY
            else (kind, (sound.U8, []))
        )
    edge = pick(rng, EDGES)
    if kind == sound.F32:
        with np.errstate(over="ignore"):
            return kind, float(np.float32(min(edge, 10**300)))
    if kind == sound.BOOL:
        return kind, bool(edge)
    least, beyond = _RANGES[kind]
    finite = 0 if edge != edge else max(min(edge, beyond - 1), least)
    return kind, int(finite)


def _metadata(parts: Parts, rng: Random) -> None:
    file = parts.gguf
    assert file is not None
    at = int(rng.integers(0, len(file.values)))
    key, kind, value = file.values[at]
    chance = rng.random()
    if chance < 0.25:
        family = file.values[0][2]
        added = pick(rng, GGUF_KEYS) if rng.random() < 0.4 else f"{family}.{pick(rng, GGUF_ARCHITECTURE_KEYS)}"
        file.values.append((added, *_typed_edge(rng)))
    elif chance < 0.3:
        del file.values[at]
    elif chance < 0.35:
        file.values.append((key + ("" if rng.random() < 0.5 else "x"), kind, value))
    elif kind == sound.ARRAY and value[1] and chance < 0.8:
        element, items = value
        place = int(rng.integers(0, len(items)))
        if rng.random() < 0.4:
            file.values[at] = (key, kind, (element, items[:place] if rng.random() < 0.5 else items + items[:place]))
            return
        edges = {sound.STRING: TEXTS, sound.F32: [0.0, float("nan"), float("-inf"), 3e38]}
        odd = pick(rng, edges.get(element, [0, 1, 6, 127]))
        odd = odd.encode("utf-8", "surrogatepass") if isinstance(odd, str) else odd
        file.values[at] = (key, kind, (element, [*items[:place], odd, *items[place + 1 :]]))
    else:
        other, edge = _typed_edge(rng)
        while rng.random() < 0.8 and other != kind:  # mostly of the type that belongs there
            other, edge = _typed_edge(rng)
        file.values[at] = (key, other, edge)


def _tensors(parts: Parts, rng: Random) -> None:
    file = parts.gguf
    assert file is not None
    if not file.tensors:
        return
    tensor = pick(rng, file.tensors)
    match int(rng.integers(0, 7)):
        case 0:
            shape = list(tensor[1])
            if shape:
                shape[int(rng.integers(0, len(shape)))] = int(
                    pick(rng, [0, 1, 2, 31, 33, 2**31, 2**32, 2**61, 2**63, 2**64 - 1])
                )
            tensor[1] = tuple(shape)
        case 1:
            tensor[1] = tuple(tensor[1][::-1]) if rng.random() < 0.5 else (*tensor[1], 1)
        case 2:
            tensor[2] = int(pick(rng, [0, 1, 2, 3, 6, 7, 8, 10, 12, 14, 16, 20, 23, 28, 30, 39, 77, 2**31, 2**32 - 1]))
        case 3:
            tensor[3] = int(pick(rng, [0, 1, 32, len(file.data), len(file.data) - 32, 2**31, 2**63, 2**64 - 32]))
        case 4:
            tensor[0] = pick(
                rng,
                ["", "blk.0.", "blk.999999.attn_q.weight", "rope_freqs.weight", pick(rng, file.tensors)[0], "x" * 5000],
            )
        case 5:
            file.tensors.remove(tensor)
        case 6:
            file.data = file.data[: int(rng.integers(0, len(file.data) + 1))]


# -- bytes -------------------------------------------------------------------------------------------------------------


def _bytes(contents: dict[str, bytes], rng: Random) -> None:
    """Spoil a few bytes of one file, mostly near its beginning, or cut it off."""
    name = pick(rng, sorted(contents))
    content = bytearray(contents[name])
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, max(1, len(content) if rng.random() < 0.5 else min(len(content), 4096))))
        match int(rng.integers(0, 5)):
            case 0:
                content[at : at + 1] = bytes([int(rng.integers(0, 256))])
            case 1:
                content[at : at + 8] = (int(pick(rng, [0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))).to_bytes(
                    8, "little"
                )
            case 2:
                del content[at : at + int(rng.integers(1, 40))]
            case 3:
                content[at:at] = content[at : at + int(rng.integers(1, 400))]
            case 4:
                del content[at:]
    contents[name] = bytes(content)
