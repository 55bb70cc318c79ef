"""What other programs call the formats of weights, and the nearest kind of ours.

Ours are bf16, w8, w6 and w4 (`loading/binding.py`). Of two that are near, the one with more bits is taken, so that no
model becomes worse than was asked for; what has fewer bits than any of ours becomes w4.
"""

from __future__ import annotations

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
