"""The stored formats of weights: how many bytes hold how many values.

A format is a name and a block: `block_size` consecutive values along a row live in `block_bytes` bytes. Everything
above (readers, kernels, byte counts) asks this table; only `formats` knows what the bits inside a block mean.

Source: docs/formats.md; GGML type table in the GGUF specification.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One way of storing values.

    Units: `block_size` counts values, `block_bytes` bytes.
    """

    name: str
    block_size: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block_size

    def row_bytes(self, n_values: int) -> int:
        """Return the bytes of a row of `n_values` values; the last block may be partly filled."""
        return -(-n_values // self.block_size) * self.block_bytes

    def __str__(self) -> str:
        return self.name


F32 = Format("F32", 1, 4)
F16 = Format("F16", 1, 2)
BF16 = Format("BF16", 1, 2)
Q8_0 = Format("Q8_0", 32, 34)
Q4_0 = Format("Q4_0", 32, 18)
Q4_1 = Format("Q4_1", 32, 20)
Q5_0 = Format("Q5_0", 32, 22)
Q5_1 = Format("Q5_1", 32, 24)
Q2_K = Format("Q2_K", 256, 84)
Q3_K = Format("Q3_K", 256, 110)
Q4_K = Format("Q4_K", 256, 144)
Q5_K = Format("Q5_K", 256, 176)
Q6_K = Format("Q6_K", 256, 210)
IQ4_NL = Format("IQ4_NL", 32, 18)
IQ4_XS = Format("IQ4_XS", 256, 136)
MXFP4 = Format("MXFP4", 32, 17)
W4G32 = Format("W4G32", 32, 19)
W4G64 = Format("W4G64", 64, 35)
W4G128 = Format("W4G128", 128, 67)
W8G32 = Format("W8G32", 32, 35)
W8G64 = Format("W8G64", 64, 67)
W8G128 = Format("W8G128", 128, 131)

GGML: tuple[Format, ...] = (
    F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, MXFP4,
)  # fmt: skip
"""What a GGUF file holds."""

AFFINE: tuple[Format, ...] = (W4G32, W4G64, W4G128, W8G32, W8G64, W8G128)
"""Groups with a scale and a zero point, as GPTQ and AWQ have them."""

ALL: tuple[Format, ...] = GGML + AFFINE

BY_NAME: dict[str, Format] = {format.name: format for format in ALL}
