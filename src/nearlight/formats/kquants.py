"""GGML's K-quants, 256 values to a super-block: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.

A super-block has one or two f16 scales, and small integer scales for its sub-blocks of 16 (Q2_K, Q3_K, Q6_K) or 32
values (Q4_K, Q5_K). Codes are split over fields of bytes so that one vector of bytes yields values 32 (or 64) apart.

Source: GGUF specification; layouts checked bit for bit against the gguf package.
"""

from __future__ import annotations

import numpy as np

from nearlight.formats.codec import Blocks, Codec, Values, bit_fields, half, inverse, signed_extreme, to_half


def _scaled(scales: Values, codes: Blocks | Values) -> Values:
    """Multiply each run of codes by its sub-block's scale.

    Shapes: scales [n, s]; codes [n, 256] -> [n, s, 256 / s].
    """
    return scales[:, :, None] * codes.reshape(*scales.shape, -1).astype(np.float32)


def _decode_q2_k(blocks: Blocks) -> Values:
    scales = blocks[:, 0:16]
    codes = bit_fields(blocks[:, 16:80], 2, run=32)
    steps = half(blocks, 80) * (scales & 15).astype(np.float32)
    offsets = half(blocks, 82) * (scales >> 4).astype(np.float32)
    return (_scaled(steps, codes) - offsets[:, :, None]).reshape(-1, 256)


def _decode_q3_k(blocks: Blocks) -> Values:
    low_bits = bit_fields(blocks[:, 32:96], 2, run=32)
    high_bit = bit_fields(blocks[:, 0:32], 1, run=32) << np.uint8(2)
    codes = (low_bits | high_bit).astype(np.float32) - np.float32(4)
    # Sixteen 6-bit scales: four low bits each in bytes 96-103, two high bits each in bytes 104-107.
    scales = bit_fields(blocks[:, 96:104], 4, run=8) | (bit_fields(blocks[:, 104:108], 2, run=4) << 4)
    steps = half(blocks, 108) * (scales.astype(np.float32) - np.float32(32))
    return _scaled(steps, codes).reshape(-1, 256)


def _scales_and_minima(packed: Blocks) -> tuple[Values, Values]:
    """Unpack the eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K.

    Shapes: uint8 [n, 12] -> two float32 [n, 8]. The first four of each are the low six bits of their bytes; the last
    four take their high two bits from what is left over there.
    """
    first, second, third = packed[:, 0:4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], axis=1)
    minima = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], axis=1)
    return scales.astype(np.float32), minima.astype(np.float32)


def _decode_with_minima(blocks: Blocks, codes: Blocks) -> Values:
    scales, minima = _scales_and_minima(blocks[:, 4:16])
    offsets = half(blocks, 2) * minima
    return (_scaled(half(blocks, 0) * scales, codes) - offsets[:, :, None]).reshape(-1, 256)


def _decode_q4_k(blocks: Blocks) -> Values:
    return _decode_with_minima(blocks, bit_fields(blocks[:, 16:144], 4, run=32))


def _decode_q5_k(blocks: Blocks) -> Values:
    fifth_bit = bit_fields(blocks[:, 16:48], 1, run=32) << np.uint8(4)
    return _decode_with_minima(blocks, bit_fields(blocks[:, 48:176], 4, run=32) | fifth_bit)


def _decode_q6_k(blocks: Blocks) -> Values:
    low_bits = bit_fields(blocks[:, 0:128], 4, run=64)
    high_bits = bit_fields(blocks[:, 128:192], 2, run=32) << np.uint8(4)
    codes = (low_bits | high_bits).astype(np.float32) - np.float32(32)
    steps = half(blocks, 208) * blocks[:, 192:208].view(np.int8).astype(np.float32)
    return _scaled(steps, codes).reshape(-1, 256)


def _encode_q6_k(values: Values) -> Blocks:
    """Quantize in two passes: a least-squares scale per sub-block, then codes for the scales as they were rounded."""
    groups = values.reshape(-1, 16, 16)
    first_guess = signed_extreme(groups) / np.float32(-32)
    codes = np.clip(np.rint(groups * inverse(first_guess)), -32, 31)
    power = (codes * codes).sum(axis=2)
    wanted = np.divide((groups * codes).sum(axis=2), power, out=np.zeros_like(power), where=power > 0)

    # Dividing by −128 gives the largest sub-block scale the one code that the positive side lacks.
    top = to_half(signed_extreme(wanted) / np.float32(-128))
    top_scale = half(top, 0)
    sub_scales = np.clip(np.rint(wanted * inverse(top_scale)), -128, 127).astype(np.int8)

    steps = (top_scale * sub_scales.astype(np.float32))[:, :, None]
    codes = np.clip(np.rint(groups * inverse(steps)), -32, 31) + 32
    return _pack_q6_k(codes.astype(np.uint8).reshape(-1, 256), sub_scales, top)


def _pack_q6_k(codes: Blocks, sub_scales: np.ndarray, top: Blocks) -> Blocks:
    """Lay 6-bit codes out as Q6_K does.

    Shapes: codes uint8 [n, 256]; sub_scales int8 [n, 16]; top uint8 [n, 2] -> uint8 [n, 210].
    """
    n = len(codes)
    low = codes.reshape(n, 2, 2, 64) & 15  # [n, half, low or high nibble, byte]
    high = codes.reshape(n, 2, 4, 32) >> 4  # [n, half, bit pair, byte]
    low_bytes = low[:, :, 0] | (low[:, :, 1] << 4)
    high_bytes = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    return np.concatenate(
        [low_bytes.reshape(n, 128), high_bytes.reshape(n, 64), sub_scales.view(np.uint8), top], axis=1
    )


Q2_K = Codec(_decode_q2_k, scales_at=(80, 82))
Q3_K = Codec(_decode_q3_k, scales_at=(108,))
Q4_K = Codec(_decode_q4_k, scales_at=(0, 2))
Q5_K = Codec(_decode_q5_k, scales_at=(0, 2))
Q6_K = Codec(_decode_q6_k, _encode_q6_k, scales_at=(208,))
