"""Formats whose 4-bit codes are indices into a fixed table: IQ4_NL, IQ4_XS, MXFP4.

Source: GGUF specification; OCP Microscaling Formats (MX) 1.0 for MXFP4. Checked bit for bit against the gguf package.
"""

from __future__ import annotations

import numpy as np

from nearlight.formats.codec import Blocks, Codec, Values, bit_fields, half

NON_LINEAR = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.float32
)  # fmt: skip
"""Steps of IQ4_NL and IQ4_XS: denser around zero, where weights are."""

E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=np.float32)
"""The sixteen values of a 4-bit float, times two so that they are whole; the exponent's bias is one more instead."""


def _decode_iq4_nl(blocks: Blocks) -> Values:
    return half(blocks, 0) * NON_LINEAR[bit_fields(blocks[:, 2:18], 4, run=16)]


def _decode_iq4_xs(blocks: Blocks) -> Values:
    # Eight 6-bit scales: low nibbles in bytes 4-7 (two to a byte), high pairs in bytes 2-3 (four to a byte).
    low = bit_fields(blocks[:, 4:8], 4, run=1)
    high = bit_fields(blocks[:, 2:4], 2, run=1)
    scales = (low | (high << 4)).astype(np.float32) - np.float32(32)
    steps = half(blocks, 0) * scales
    codes = bit_fields(blocks[:, 8:136], 4, run=16).reshape(-1, 8, 32)
    return (steps[:, :, None] * NON_LINEAR[codes]).reshape(-1, 256)


def _decode_mxfp4(blocks: Blocks) -> Values:
    scale = np.ldexp(np.float32(1), blocks[:, 0:1].astype(np.int32) - 128)
    return scale * E2M1_DOUBLED[bit_fields(blocks[:, 1:17], 4, run=16)]


IQ4_NL = Codec(_decode_iq4_nl, scales_at=(0,))
IQ4_XS = Codec(_decode_iq4_xs, scales_at=(0,))
MXFP4 = Codec(_decode_mxfp4)
