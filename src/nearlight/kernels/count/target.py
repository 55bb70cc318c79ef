"""How the kernels that are counted for keep and multiply what they are given: the rules beside the arithmetic.

A matrix on an accelerator is as large as it is stored. This engine's CPU kernels pack it into tiles of 16 output rows,
so the last tile may be padded, and grow the KV cache by segments of 256 tokens. The rules mirror native/src
(matmul/layout.h and pack.cpp, kv_layout.h, matmul/floats.h); a test holds them to what the native library allocates.
"""

from __future__ import annotations

from dataclasses import dataclass

from nearlight.dtypes import BF16, F16, F32, Format
from nearlight.errors import RequestError


@dataclass(frozen=True)
class Target:
    """A set of kernels to count for.

    `tile_rows` and `pair_inputs` are what a matrix's output rows, and BF16's inputs, are padded to a multiple of;
    `segment_tokens` what the KV cache grows by; `value_lanes` what a stored value's head_dim is padded to.
    `bf16`, `f16` and `attention` are the data types in which those are multiplied; blocks of 8 bits and fewer are
    multiplied as int8 everywhere.
    """

    name: str
    tile_rows: int = 1
    pair_inputs: int = 1
    segment_tokens: int = 1
    value_lanes: int = 1
    bf16: str = "bf16"
    f16: str = "bf16"
    attention: str = "bf16"

    def matrix_bytes(self, format: Format, n_out: int, n_in: int) -> int:
        """Return the bytes that a matrix [n_out, n_in] is kept in."""
        if format is BF16:
            n_in = _rounded_up(n_in, self.pair_inputs)
        return _rounded_up(n_out, self.tile_rows) * format.row_bytes(n_in)

    def kv_token_bytes(self, n_kv_heads: int, head_dim: int, format: Format) -> int:
        """Return the bytes of one token's keys and values in one layer."""
        padded_dim = _rounded_up(head_dim, self.value_lanes)
        return n_kv_heads * (format.row_bytes(head_dim) + format.row_bytes(padded_dim))

    def kv_allocated_tokens(self, n_tokens: int) -> int:
        """Return for how many tokens there is room when n_tokens are kept."""
        return _rounded_up(n_tokens, self.segment_tokens)

    def multiplied_in(self, format: Format) -> str:
        """Return the data type in which a matrix of this format is multiplied."""
        if format is BF16:
            return self.bf16
        if format is F16:
            return self.f16
        return "fp32" if format is F32 else "int8"

    def prepared_bytes(self, format: Format, n_rows: int, n_in: int) -> int:
        """Return the bytes of activations made ready for a product: converted in blocks of 32 inputs."""
        return n_rows * -(-n_in // 32) * _PREPARED_BLOCK_BYTES[self.multiplied_in(format)]


_PREPARED_BLOCK_BYTES = {"fp32": 128, "bf16": 64, "int8": 48}  # int8: codes, a scale, three sums

ACCELERATOR = Target("accelerator")

_PACKED = {"tile_rows": 16, "pair_inputs": 2, "segment_tokens": 256, "value_lanes": 16}

CPU_TARGETS: dict[str, Target] = {
    "avx512": Target("cpu avx512", **_PACKED, bf16="bf16", f16="fp32", attention="fp32"),
    "avx2": Target("cpu avx2", **_PACKED, bf16="fp32", f16="fp32", attention="fp32"),
    "plain": Target("cpu plain", **_PACKED, bf16="fp32", f16="fp32", attention="fp32"),
}
"""This engine's CPU kernels, by the instruction level that `CpuOps.isa` names."""


def cpu_target(isa: str = "avx512") -> Target:
    """Return the CPU kernels of an instruction level. Raises: RequestError for an unknown one."""
    if isa not in CPU_TARGETS:
        raise RequestError("instruction level", expected="one of " + ", ".join(CPU_TARGETS), found=repr(isa))
    return CPU_TARGETS[isa]


def _rounded_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
