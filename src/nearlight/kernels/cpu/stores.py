"""What layers keep between steps, in native memory: keys and values, states of recurrences."""

from __future__ import annotations

from nearlight import _native
from nearlight.dtypes import F16, F32, Q8_0, Format
from nearlight.errors import RequestError, ShapeError

_KV_FORMATS = {F32: 0, F16: 1, Q8_0: 2}


class CpuKVStore:
    """Keys and values of one attention layer; `native/src/runtime/kv_store.h` has the picture."""

    def __init__(self, runtime: _native.Runtime, n_kv_heads: int, head_dim: int, format: Format) -> None:
        if format not in _KV_FORMATS:
            raise RequestError("kv cache format", expected="F32, F16 or Q8_0", found=format)
        if n_kv_heads < 1 or head_dim < 1:
            raise ShapeError("kv store", expected="at least one head of one dimension", found=[n_kv_heads, head_dim])
        self.native = _native.KVStore(runtime, n_kv_heads, head_dim, _KV_FORMATS[format])

    def reserve(self, sequence: int, n_tokens: int) -> int:
        return self.native.reserve(sequence, n_tokens)

    def copy(self, source: int, target: int, n_tokens: int) -> None:
        try:
            self.native.copy(source, target, n_tokens)
        except ValueError as error:
            raise RequestError(str(error)) from None

    def release(self, sequence: int, before: int) -> None:
        self.native.release(sequence, before)

    def clear(self, sequence: int) -> None:
        self.native.clear(sequence)

    def free(self, sequence: int) -> None:
        self.native.free(sequence)

    @property
    def head_dim(self) -> int:
        return self.native.head_dim

    @property
    def n_bytes(self) -> int:
        return self.native.n_bytes

    @property
    def token_bytes(self) -> int:
        return self.native.token_bytes


class CpuRecurrentStore:
    """States of one recurrence; `native/src/runtime/recurrent_store.h` has the two places."""

    def __init__(self, runtime: _native.Runtime, size: int) -> None:
        if size < 1:
            raise ShapeError("recurrent store", expected="a state of at least one value", found=size)
        self.native = _native.RecurrentStore(runtime, size)

    def reserve(self, sequence: int) -> None:
        self.native.reserve(sequence)

    def use(self, sequence: int, place: int) -> None:
        try:
            self.native.use(sequence, place)
        except ValueError as error:
            raise RequestError(str(error)) from None

    def copy(self, source: int, target: int) -> None:
        try:
            self.native.copy(source, target)
        except ValueError as error:
            raise RequestError(str(error)) from None

    def clear(self, sequence: int) -> None:
        self.native.clear(sequence)

    def free(self, sequence: int) -> None:
        self.native.free(sequence)

    @property
    def n_bytes(self) -> int:
        return self.native.n_bytes
