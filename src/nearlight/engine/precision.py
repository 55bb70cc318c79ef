"""How exact attention is: what a package's weights can show.

Rounding keys, queries and softmax weights to bf16, which some processors multiply twice as fast as fp32, costs logits
half a percent. Weights of 8 bits and fewer cost several, and hide it. Weights of 16 and 32 bits would show it, so their
attention is multiplied in fp32; and where every weight has 32 bits, so have the keys and values that are kept. This is
the one place where that is decided: what runs, what is counted and what is planned ask here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nearlight.dtypes import BF16, F16, F32, Q8_0, Format
from nearlight.errors import RequestError
from nearlight.layers.parameters import Parameter

KV_FORMATS: dict[str, Format] = {"f16": F16, "q8": Q8_0, "f32": F32}
"""Formats of the KV cache, by the names people give them."""

_WIDE = (F32, F16, BF16)


@dataclass(frozen=True)
class AttentionPrecision:
    """The format in which keys and values are kept, and whether they are multiplied in fp32 even where bf16 is faster.

    A cache in 8 bits is multiplied in integers in any case, one in 32 bits in fp32.
    """

    kv_format: Format
    exact: bool

    @property
    def kv(self) -> str:
        """The format's name for people."""
        return next(name for name, format in KV_FORMATS.items() if format is self.kv_format)


def attention_precision(parameters: Iterable[Parameter], kv_format: Format | None = None) -> AttentionPrecision:
    """Decide for a model whose parameters are bound; `kv_format` None follows its weights."""
    formats = {parameter.format for parameter in parameters if parameter.is_matrix}
    return AttentionPrecision(kv_format or usual_kv_format(formats), exact=all(format in _WIDE for format in formats))


def usual_kv_format(formats: Iterable[Format | None]) -> Format:
    """Return the format of the KV cache beside matrices of these formats, where nothing else is asked for."""
    return F32 if set(formats) == {F32} else F16


def kv_format_named(kv: str | None) -> Format | None:
    """Return the format that a name means, None for None. Raises: RequestError naming the choices."""
    if kv is None:
        return None
    if kv not in KV_FORMATS:
        raise RequestError("kv", expected="one of " + ", ".join(KV_FORMATS), found=repr(kv))
    return KV_FORMATS[kv]
