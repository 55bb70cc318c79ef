"""How the kernels that are counted for keep and multiply what they are given: the rules beside the arithmetic.

A matrix on an accelerator is as large as it is stored. This engine's CPU kernels pack it into tiles of 16 output rows,
so the last tile may be padded, and grow the KV cache by segments of 256 tokens. The rules mirror native/src
(matmul/layout.h and pack.cpp, kv_layout.h, vector/kernels.h, matmul/floats.h); a test holds them to what the native
library allocates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nearlight.dtypes import BF16, F16, F32, Q2_K, Q3_K, Q6_K, Q8_0, Format
from nearlight.errors import RequestError


@dataclass(frozen=True)
class Target:
    """A set of kernels to count for.

    `tile_rows` and `pair_inputs` are what a matrix's output rows, and BF16's inputs, are padded to a multiple of;
    `segment_tokens` what the KV cache grows by. `packs_kv` says that keys and values are laid out for vectors of 16
    lanes, as codes with scales where they have fewer than 32 bits.
    `bf16` and `f16` are the data types in which those are multiplied; blocks of 8 bits and fewer are
    multiplied as int8 everywhere.
    """

    name: str
    tile_rows: int = 1
    pair_inputs: int = 1
    segment_tokens: int = 1
    packs_kv: bool = False
    bf16: str = "bf16"
    f16: str = "bf16"

    def matrix_bytes(self, format: Format, n_out: int, n_in: int) -> int:
        """Return the bytes that a matrix [n_out, n_in] is kept in."""
        if format is BF16:
            n_in = _rounded_up(n_in, self.pair_inputs)
        return _rounded_up(n_out, self.tile_rows) * format.row_bytes(n_in)

    def kv_token_bytes(self, n_kv_heads: int, head_dim: int, format: Format) -> int:
        """Return the bytes of one token's keys and values in one layer."""
        if not self.packs_kv:
            return n_kv_heads * 2 * format.row_bytes(head_dim)
        padded_dim = _rounded_up(head_dim, _LANES)
        if format is not Q8_0:
            scales = 0 if format is F32 else 4
            return n_kv_heads * (format.row_bytes(_rounded_up(head_dim, 2)) + format.row_bytes(padded_dim) + scales)
        n_scales = -(-head_dim // 32) + 1
        return n_kv_heads * (_rounded_up(head_dim, 4) + padded_dim + 2 * n_scales)

    def kv_allocated_tokens(self, n_tokens: int) -> int:
        """Return for how many tokens there is room when n_tokens are kept."""
        return _rounded_up(n_tokens, self.segment_tokens)

    def kv_released_tokens(self, before: int) -> int:
        """Return how many tokens' room is given back when all before this position is released."""
        return before // self.segment_tokens * self.segment_tokens

    def multiplied_in(self, format: Format) -> str:
        """Return the data type in which a matrix of this format is multiplied."""
        if format is BF16:
            return self.bf16
        if format is F16:
            return self.f16
        return "fp32" if format is F32 else "int8"

    def attention_operations(self, format: Format) -> Mapping[str, int]:
        """Return the operations, by data type, for every dimension of a query head and token that it sees.

        Two products; over 8 bits in the CPU's kernels three, since softmax weights take two planes there.
        """
        if not self.packs_kv:
            return {"bf16": 4}
        if format is Q8_0:
            return {"int8": 6}
        return {"fp32" if format is F32 else "int16": 4}

    def attention_scratch_bytes(self, n_rows: int, group: int, head_dim: int) -> int:
        """Return the bytes that attention of n_rows works in, on one thread, `group` heads sharing a key head."""
        if not self.packs_kv:
            return 0
        padded_dim = _rounded_up(head_dim, _LANES)
        heads = -(-group // -(-group // _TILE_QUERIES))
        n_queries = heads * min(n_rows, _TILE_QUERIES // heads)
        queries = n_queries * (3 * padded_dim + 2 * _STRETCH_TOKENS + 4)
        return 4 * _rounded_up(queries + padded_dim + 256, 16)

    def quantized_bytes(self, format: Format, n_rows: int, n_in: int) -> int:
        """Return the bytes of activations quantized for a product, in blocks of 32 inputs."""
        n_bytes = _QUANTIZED_BLOCK_BYTES[self.multiplied_in(format)] + (4 if format in _SIXTEENS else 0)
        return n_rows * -(-n_in // 32) * n_bytes


_LANES, _TILE_QUERIES, _STRETCH_TOKENS = 16, 64, 128
_QUANTIZED_BLOCK_BYTES = {"fp32": 128, "bf16": 64, "int8": 40}  # int8: codes, a scale, a sum of each group
_SIXTEENS = (Q2_K, Q3_K, Q6_K)  # groups of 16 inputs; others have 32 or more

ACCELERATOR = Target("accelerator")


def _packing(level: str, bf16: str) -> Target:
    return Target(
        f"cpu {level}",
        tile_rows=16,
        pair_inputs=2,
        segment_tokens=256,
        packs_kv=True,
        bf16=bf16,
        f16="fp32",
    )


CPU_TARGETS: dict[str, Target] = {
    "avx512": _packing("avx512", bf16="bf16"),
    "avx2": _packing("avx2", bf16="fp32"),
    "plain": _packing("plain", bf16="fp32"),
}
"""This engine's CPU kernels, by the instruction level that `CpuOps.isa` names."""


def cpu_target(isa: str = "avx512") -> Target:
    """Return the CPU kernels of an instruction level. Raises: RequestError for an unknown one."""
    if isa not in CPU_TARGETS:
        raise RequestError("instruction level", expected="one of " + ", ".join(CPU_TARGETS), found=repr(isa))
    return CPU_TARGETS[isa]


def _rounded_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit
