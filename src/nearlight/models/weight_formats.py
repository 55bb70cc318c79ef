"""The formats that a person may have a model's weights in, by name: bf16, w8, w6 and w4.

Other programs have other names, and each means the nearest of ours. Of two that are near, the one with more bits is
taken, so that no model becomes worse than was asked for; what has fewer bits than any of ours becomes w4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from nearlight import dtypes
from nearlight.dtypes import Format
from nearlight.errors import RequestError
from nearlight.layers.parameters import Parameter

FormatOf: TypeAlias = Callable[[Parameter], Format]
"""Says in which format the matrix of a parameter is stored."""


@dataclass(frozen=True)
class Requantization:
    """Formats to store matrices in: those of the layers, and the embedding with the head."""

    name: str
    layers: Format
    embedding: Format

    def format_of(self, parameter: Parameter) -> Format:
        if parameter.is_table:  # stays as it is published
            return dtypes.BF16
        return self.embedding if parameter.role in ("embedding", "head") else self.layers


_BF16 = Requantization("bf16", dtypes.BF16, dtypes.BF16)
_W8 = Requantization("w8", dtypes.Q8_0, dtypes.Q8_0)
_W6 = Requantization("w6", dtypes.Q6_K, dtypes.Q6_K)
_W4 = Requantization("w4", dtypes.Q4_0, dtypes.Q6_K)  # the head's errors go straight into the logits

REQUANTIZATIONS: dict[str, Requantization] = {formats.name: formats for formats in (_BF16, _W8, _W6, _W4)}

_OTHERS = {
    "bf16": "bfloat16 f16 fp16 float16 half 16bit",
    "w8": "q8 q8_0 int8 i8 8bit fp8 f8 w8a8 w8a16 q8_k q8_k_xl",
    "w6": "q6 q6_k q6_k_l 6bit q5 q5_0 q5_1 q5_k q5_k_s q5_k_m q5_k_l int5 5bit",
    "w4": "q4 q4_0 q4_1 q4_k q4_k_s q4_k_m q4_k_l q4_k_xl iq4_nl iq4_xs int4 i4 4bit nf4 fp4 mxfp4 nvfp4 w4a16 "
    "q3 q3_k q3_k_s q3_k_m q3_k_l iq3_xxs iq3_xs iq3_s iq3_m int3 3bit "
    "q2 q2_k q2_k_s q2_k_l iq2_xxs iq2_xs iq2_s iq2_m int2 2bit",
}
_KINDS = {name: kind for kind, names in _OTHERS.items() for name in names.split()}
_MADE_OF = {
    "bf16": "16 bits a weight",
    "w8": "blocks of Q8_0",
    "w6": "blocks of Q6_K",
    "w4": "blocks of Q4_0, with embedding and head in Q6_K",
}


def requantization(weights: str | None) -> Requantization | None:
    """Return what `weights` asks for; None keeps the stored bits. Raises: RequestError naming the choices."""
    if weights is None:
        return None
    if weights not in REQUANTIZATIONS:
        raise RequestError("weights", expected="one of " + ", ".join(REQUANTIZATIONS), found=repr(weights))
    return REQUANTIZATIONS[weights]


def nearest_kind(name: str) -> str:
    """Return the kind of weights that is nearest to what a name means elsewhere; a name that nobody uses, as it is."""
    plain = name.lower().replace("-", "_")
    return plain if plain in _OTHERS else _KINDS.get(plain, name)


def said_of(name: str) -> str | None:
    """Say what will be used in place of what was named; None where that is just what was named."""
    kind = nearest_kind(name)
    if kind.lower() == name.lower():
        return None
    return f"weights {name} are {kind} here ({_MADE_OF[kind]})"
