"""A small sound package of every family that runs, in both containers, as parts that can be spoiled one by one.

Everything is put together by hand and from fixed seeds, so that a part and a number name the same file on every
machine. Each family comes with the tokenizer that its models have.
"""

from __future__ import annotations

import json
import struct
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from nearlight.kernels.count import CountOps
from nearlight.models import build_model
from nearlight.package.gguf_names import DECODER, GPT2
from nearlight.text.spelling import printable_bytes
from tests.attacks import sound
from tests.attacks.sound import ARRAY, F32, I32, STRING, U32

VOCAB, HIDDEN, INTERMEDIATE, LAYERS, HEADS, KV_HEADS, HEAD_DIM = 296, 32, 96, 2, 4, 2, 16
TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("o", "w")]
_ROTARY: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000.0,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _ROTARY
    | {
        "attention_bias": False,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "qwen2": _ROTARY
    | {
        "sliding_window": 24,
        "use_sliding_window": True,
        "max_window_layers": 1,
        "rope_scaling": {"type": "linear", "factor": 2.0},
    },
    "qwen3": _ROTARY
    | {
        "layer_types": ["full_attention", "sliding_attention"],
        "sliding_window": 8,
        "use_sliding_window": True,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24},
    },
    "gpt2": {
        "vocab_size": VOCAB,
        "n_embd": HIDDEN,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "n_positions": 96,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
    },
}  # fmt: skip
_RECURRENT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "state_size": 8,
    "conv_kernel": 4,
    "expand": 2,
    "layer_norm_epsilon": 1e-5,
    "tie_word_embeddings": True,
}
_EXPERTS: dict[str, Any] = _ROTARY | {"num_experts_per_tok": 2, "sliding_window": 24}
_HYBRID: dict[str, Any] = _ROTARY | {"num_experts_per_tok": 2, "time_step_limit": [0.0, float("inf")]}
_STATES = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_expand": 2}
_DELTA_NET: dict[str, Any] = _ROTARY | {
    "partial_rotary_factor": 0.5,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
    "linear_conv_kernel_dim": 4,
}
_EXPERT_SIZES = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DIRECTORIES: dict[str, dict[str, Any]] = {
    "mamba": _RECURRENT | {"intermediate_size": 2 * HIDDEN, "time_step_rank": 3},
    "mamba2": _RECURRENT | {"num_heads": 4, "head_dim": 16, "n_groups": 2, "chunk_size": 8},
    "gemma3_text": _ROTARY
    | {
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 24,
        "final_logit_softcapping": 30.0,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "gemma4_text": _ROTARY
    | {
        "num_hidden_layers": 5,
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["full_attention"],
        "sliding_window": 24,
        "global_head_dim": 24,
        "num_kv_shared_layers": 2,
        "use_double_wide_mlp": True,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCAB,
        "enable_moe_block": True,
        "num_experts": 3,
        "top_k_experts": 2,
        "moe_intermediate_size": 16,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    },
    "granite": _ROTARY | {"attention_multiplier": 0.2, "embedding_multiplier": 2.0, "logits_scaling": 4.0},
    "gpt_oss": _EXPERTS | {"num_local_experts": 3, "swiglu_limit": 7.0, "swiglu_alpha": 1.702},
    "qwen3_5_text": _DELTA_NET | {"layer_types": ["full_attention", "linear_attention"]},
    "qwen3_next": _DELTA_NET
    | _EXPERT_SIZES
    | {"layer_types": ["full_attention", "linear_attention"], "shared_expert_intermediate_size": 24},
    "phi3": _ROTARY
    | {
        "original_max_position_embeddings": 6,
        "sliding_window": 24,
        "rope_scaling": {"type": "su", "short_factor": [1.0] * 8, "long_factor": [1.5] * 7 + [9.0]},
    },
    "ministral3": _ROTARY
    | {
        "rope_parameters": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 5,
            "llama_4_scaling_beta": 0.1,
        }
    },
    "llama4_text": _EXPERTS
    | {
        "num_experts_per_tok": 1,
        "num_local_experts": 3,
        "intermediate_size_mlp": 64,
        "interleave_moe_layer_step": 2,
        "no_rope_layers": [1, 0],
        "attention_chunk_size": 5,
        "attn_temperature_tuning": 4,
        "floor_scale": 3,
    },
    "qwen3_moe": _EXPERTS | {"num_experts": 3, "moe_intermediate_size": 16, "decoder_sparse_step": 2},
    "lfm2": _ROTARY
    | {
        "layer_types": ["conv", "full_attention"],
        "conv_L_cache": 3,
        "norm_eps": 1e-5,
        "block_auto_adjust_ff_dim": True,
        "block_multiple_of": 8,
    },
    "nemotron_h": _HYBRID
    | {
        "num_hidden_layers": 4,
        "hybrid_override_pattern": "M-*E",
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 2,
        "n_routed_experts": 3,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 24,
    },
    "falcon_h1": _HYBRID
    | _STATES
    | {
        "mamba_d_ssm": 64,
        "mamba_rms_norm": True,
        "mamba_norm_before_gate": False,
        "mlp_multipliers": [0.5, 2.0],
        "ssm_multipliers": [0.5, 0.6, 0.7, 0.8, 0.9],
        "key_multiplier": 0.5,
    },
    "granitemoehybrid": _HYBRID
    | _STATES
    | {
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 3,
        "shared_intermediate_size": 24,
        "logits_scaling": 4.0,
        "position_embedding_type": "nope",
    },
}
"""Those made as directories only."""
GENERATION = {
    "eos_token_id": [2, 0],
    "bos_token_id": 1,
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "max_new_tokens": 4,
}


@dataclass
class Gguf:
    """The parts of a GGUF file: metadata as (key, type, value), tensors as [name, shape, type, offset], their bytes."""

    values: list[tuple[str, int, Any]]
    tensors: list[list[Any]]
    data: bytes

    def content(self) -> bytes:
        values = {key: sound.typed(kind, value) for key, kind, value in self.values}
        infos = [sound.tensor_info(name, shape, kind, offset) for name, shape, kind, offset in self.tensors]
        return sound.gguf_bytes(values, infos, self.data)


@dataclass
class Parts:
    """A package as its files; those that are JSON as values, so that they can be spoiled as such."""

    documents: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    gguf: Gguf | None = None

    def contents(self) -> dict[str, bytes]:
        written = {name: json.dumps(value).encode() for name, value in self.documents.items()} | self.files
        return written | ({"model.gguf": self.gguf.content()} if self.gguf else {})

    @property
    def source(self) -> str:
        """What of it is opened."""
        return "model.gguf" if self.gguf else "."


def config_of(family: str) -> dict[str, Any]:
    return {**CONFIGS, **DIRECTORIES}[family] | {"model_type": family}


def weights(family: str) -> dict[str, np.ndarray]:
    """Make random weights under Hugging Face names, as [out, in]; each expert's by themselves."""
    rng, shapes = np.random.default_rng(7), dict[str, tuple[int, ...]]()
    for parameter in build_model(CountOps(), config_of(family)).parameters():
        if parameter.stack and "*" not in parameter.name:  # all of them in one, along an axis of their own
            rows, width = parameter.stored_shape
            shapes[parameter.name.removesuffix(".weight")] = (parameter.stack, rows // parameter.stack, width)
        elif parameter.stack:
            shape = (parameter.shape[0] // parameter.stack, *parameter.shape[1:])
            shapes |= {parameter.name.replace("*", str(i)): shape for i in range(parameter.stack)}
        else:
            shapes[parameter.name] = parameter.stored_shape
    return {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}


def tensors_of(family: str) -> dict[str, np.ndarray]:
    """Make a family's weights as its directories hold them."""
    tensors = weights(family)
    if family == "gpt2":
        return {n: v.T if v.ndim == 2 and ".c_" in n else v for n, v in tensors.items()}
    return with_halves_together(tensors) if family == "granitemoehybrid" else tensors


def directory(family: str) -> Parts:
    """Make a Hugging Face package; qwen2's weights lie in two files with an index."""
    parts = Parts({"config.json": config_of(family), "generation_config.json": dict(GENERATION)})
    tensors = tensors_of(family)
    names = sorted(tensors)
    if family == "qwen2":
        halves = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
        parts.documents["model.safetensors.index.json"] = {
            "metadata": {"total_size": sum(v.nbytes for v in tensors.values())},
            "weight_map": {name: file for file, part in halves.items() for name in part},
        }
    else:
        halves = {"model.safetensors": names}
    parts.files |= {
        file: sound.safetensors_bytes({name: np.ascontiguousarray(tensors[name]) for name in part})
        for file, part in halves.items()
    }
    _TOKENIZERS.get(family, _add_tokenizer_json)(parts)
    return parts


def gguf(family: str) -> Parts:
    """Make a GGUF file: matrices in Q8_0, the rest in F32."""
    tensors, data = [], b""
    for name, values in weights(family).items():
        kind = sound.GGML_Q8_0 if values.ndim == 2 and "wpe" not in name else sound.GGML_F32
        data += bytes(-len(data) % 32)
        tensors.append([_gguf_name(family, name), values.shape, kind, len(data)])
        data += sound.q8_0(values) if kind == sound.GGML_Q8_0 else values.tobytes()
    config, sampling = CONFIGS[family], "general.sampling."
    sizes = {
        "context_length": 96, "embedding_length": HIDDEN, "block_count": LAYERS, "attention.head_count": HEADS,
        "feed_forward_length": config.get("intermediate_size", 4 * HIDDEN),
    }  # fmt: skip
    if family != "gpt2":
        sizes |= {
            "attention.head_count_kv": KV_HEADS,
            "attention.key_length": HEAD_DIM,
            "attention.value_length": HEAD_DIM,
        }
        sizes |= {"rope.dimension_count": HEAD_DIM} | ({"attention.sliding_window": 8} if family == "qwen3" else {})
    epsilon = "attention.layer_norm_epsilon" if family == "gpt2" else "attention.layer_norm_rms_epsilon"
    values: list[tuple[str, int, Any]] = [
        ("general.architecture", STRING, family),
        ("general.name", STRING, f"fuzzed {family}"),
        *((f"{family}.{key}", U32, size) for key, size in sizes.items()),
        (f"{family}.{epsilon}", F32, 1e-6),
        (sampling + "temp", F32, 0.7),
        (sampling + "top_k", I32, 20),
        ("tokenizer.chat_template", STRING, TEMPLATE),
        *_tables("llama" if family == "llama" else "gpt2"),
    ]
    if family == "qwen2":
        scaling = f"{family}.rope.scaling."
        values += [(scaling + "type", STRING, "yarn"), (scaling + "factor", F32, 4.0)]
        values += [(scaling + "original_context_length", U32, 24), (f"{family}.rope.freq_base", F32, 5000.0)]
    return Parts(gguf=Gguf(values, tensors, data))


def with_halves_together(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Put gates and what they gate into one tensor, and those of all experts, as Granite's packages have them."""
    together = {name: values for name, values in tensors.items() if "mlp." not in name and ".experts." not in name}
    for place in {name.rpartition(".gate_proj.")[0] for name in tensors if ".gate_proj." in name}:
        gate, up, down = (tensors[f"{place}.{part}_proj.weight"] for part in ("gate", "up", "down"))
        layer, _, expert = place.partition(".experts.")
        for name, values in (("input_linear", np.concatenate([gate, up])), ("output_linear", down)):
            stack = together.setdefault(f"{layer}.{name}.weight", np.zeros((3, *values.shape)) if expert else values)
            if expert:
                stack[int(expert)] = values
    return {name: values.astype(np.float32) for name, values in together.items()}


_FAMILIES = {directory: [*CONFIGS, *DIRECTORIES], gguf: [*CONFIGS]}
KINDS = {
    f"{family}-{container.__name__}": (container, family)
    for container, families in _FAMILIES.items()
    for family in families
}
"""What is fuzzed, by name."""


@cache
def _made(kind: str) -> Parts:
    container, family = KINDS[kind]
    return container(family)


def sound_parts(kind: str) -> Parts:
    """Make the package called `kind`, in order."""
    return deepcopy(_made(kind))


def write(contents: dict[str, bytes], directory: Path) -> None:
    directory.mkdir(parents=True)
    for name, content in contents.items():
        (directory / name).write_bytes(content)


# -- names -------------------------------------------------------------------------------------------------------------


def _gguf_name(family: str, name: str) -> str:
    names = GPT2 if family == "gpt2" else DECODER
    module, _, kind = name.rpartition(".")
    outside = {theirs: ours for ours, theirs in names.outside.items()}
    if module in outside:
        return f"{outside[module]}.{kind}"
    layer, _, inside = module.removeprefix(names.layer + ".").partition(".")
    return f"blk.{layer}.{next(ours for ours, theirs in names.inside.items() if theirs == inside)}.{kind}"


# -- tokenizers --------------------------------------------------------------------------------------------------------


def _byte_level() -> tuple[list[str], list[str]]:
    """Give the texts of a byte-level vocabulary, and its merges."""
    texts = [*_SPECIAL, *printable_bytes(), *("".join(pair) for pair in _MERGES)]
    return texts, [" ".join(pair) for pair in _MERGES]


def _pieces() -> list[tuple[str, float, int]]:
    """Give the pieces of a SentencePiece vocabulary: text, score, type."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz", "th", "the", "▁the"]
    special = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    return [
        *special,
        *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)),
        *((t, -float(i), 1) for i, t in enumerate(letters)),
    ]


def _tables(kind: str) -> list[tuple[str, int, Any]]:
    prefix = "tokenizer.ggml."
    ids = [(prefix + "bos_token_id", U32, 1), (prefix + "eos_token_id", U32, 2)]
    if kind == "llama":
        texts, scores, types = (list(column) for column in zip(*_pieces(), strict=True))
        more = [(prefix + "scores", ARRAY, (F32, scores)), (prefix + "unknown_token_id", U32, 0)]
    else:
        texts, merges = _byte_level()
        types = [3] * len(_SPECIAL) + [1] * (len(texts) - len(_SPECIAL))
        more = [(prefix + "merges", ARRAY, (STRING, merges)), (prefix + "pre", STRING, "qwen2")]
    tables = [(prefix + "tokens", ARRAY, (STRING, texts)), (prefix + "token_type", ARRAY, (I32, types))]
    return [(prefix + "model", STRING, kind), *tables, *ids, *more]


def _add_tokenizer_json(parts: Parts) -> None:
    texts, merges = _byte_level()
    added = [
        {
            "id": id,
            "content": text,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for id, text in enumerate(_SPECIAL)
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "vocab": {text: id for id, text in enumerate(texts)}, "merges": merges}
    parts.documents["tokenizer.json"] = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": level, "post_processor": level, "decoder": level, "model": model,
    }  # fmt: skip
    parts.documents["tokenizer_config.json"] = {
        "bos_token": None, "eos_token": "<|im_end|>", "chat_template": TEMPLATE, "model_max_length": 96,
        "added_tokens_decoder": {str(token["id"]): {"content": token["content"], "special": True} for token in added},
    }  # fmt: skip


def _add_vocab_and_merges(parts: Parts) -> None:
    texts, merges = _byte_level()
    parts.documents["vocab.json"] = {text: id for id, text in enumerate(texts)}
    parts.files["merges.txt"] = "\n".join(["#version: 0.2", *merges, ""]).encode()
    parts.documents["tokenizer_config.json"] = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}
    parts.documents["added_tokens.json"] = {"<extra>": len(texts)}


def _add_sentencepiece(parts: Parts) -> None:
    def delimited(number: int, content: bytes) -> bytes:
        return _varint(number << 3 | 2) + _varint(len(content)) + content

    def number(field: int, value: int) -> bytes:
        return _varint(field << 3) + _varint(value)

    pieces = b"".join(
        delimited(1, delimited(1, text.encode()) + b"\x15" + struct.pack("<f", score) + number(3, kind))
        for text, score, kind in _pieces()
    )
    trainer = number(3, 2) + number(35, 1) + number(40, 0) + number(41, 1) + number(42, 2)
    parts.files["tokenizer.model"] = pieces + delimited(2, trainer) + delimited(3, number(3, 1) + number(4, 0))
    parts.files["chat_template.jinja"] = TEMPLATE.encode()
    parts.documents["tokenizer_config.json"] = {
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
    }
    parts.documents["special_tokens_map.json"] = {"unk_token": "<unk>"}


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


_TOKENIZERS = {
    "llama": _add_sentencepiece,
    "qwen2": _add_tokenizer_json,
    "qwen3": _add_tokenizer_json,
    "gpt2": _add_vocab_and_merges,
}
