"""The format in which keys and values are kept: what is asked for, else what a package's weights can show.

A cache in 16 bits loses 0.015 % (docs/exactness.md). Beside weights of 16 bits and fewer that cannot be seen; where
every weight has 32 bits it would be the largest error of all, so there keys and values have 32 bits too. This is the
one place where that is decided: what runs, what is counted and what is planned ask here.
"""

from __future__ import annotations

from collections.abc import Iterable

from nearlight.dtypes import F16, F32, Q8_0, Format
from nearlight.errors import RequestError

KV_FORMATS: dict[str, Format] = {"f16": F16, "q8": Q8_0, "f32": F32}
"""Formats of the KV cache, by the names people give them."""


def usual_kv_format(matrices: Iterable[Format | None]) -> Format:
    """Return the format of the KV cache beside matrices of these formats, where nothing else is asked for."""
    return F32 if set(matrices) == {F32} else F16


def kv_format_named(kv: str | None) -> Format | None:
    """Return the format that a name means, None for None. Raises: RequestError naming the choices."""
    if kv is None:
        return None
    if kv not in KV_FORMATS:
        raise RequestError("kv", expected="one of " + ", ".join(KV_FORMATS), found=repr(kv))
    return KV_FORMATS[kv]


def kv_name(format: Format) -> str:
    """Return the name that people have for a format of the KV cache."""
    return next(name for name, known in KV_FORMATS.items() if known is format)
