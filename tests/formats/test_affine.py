"""Affine groups: codes against a plain reading, quantizing against torch's fake quantization."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearlight import dtypes, formats
from nearlight.dtypes import Format
from tests.formats.plain_affine import plain_affine
from tests.formats.test_formats import random_rows

AFFINE = pytest.mark.parametrize("format", dtypes.AFFINE, ids=str)


@AFFINE
def test_a_block_is_a_scale_a_zero_point_and_codes_in_order(format: Format) -> None:
    data = random_rows(format, 5, 3)
    np.testing.assert_array_equal(formats.dequantize(format, data, 3 * format.block_size), plain_affine(format, data))


def test_one_block_by_hand() -> None:
    block = np.zeros((1, 19), np.uint8)
    block[0, :2] = np.array([0.5], "<f2").view(np.uint8)
    block[0, 2:5] = [8, 0xF3, 0x08]  # zero point 8; codes 3, 15, 8, 0
    assert formats.dequantize(dtypes.W4G32, block, 4).tolist() == [[-2.5, 3.5, 0.0, -4.0]]


def test_groups_take_at_most_three_percent_more_than_gptq() -> None:
    for format in dtypes.AFFINE:
        bits = int(format.name[1])
        theirs = format.block_size * bits / 8 + 2 + bits / 8  # codes, f16 scale, a zero point as wide as a code
        assert format.block_bytes <= 1.03 * theirs


@AFFINE
def test_quantizing_is_rounding_to_the_groups_steps(format: Format) -> None:
    n = format.block_size
    values = np.random.default_rng(n).normal(0.3, 1, (7, n)).astype(np.float32)
    values[4] = np.abs(values[4])  # all of one sign: zero stays exact all the same
    data = formats.quantize(format, values)
    scales, zeros = data[:, :2].copy().view("<f2").astype(np.float32)[:, 0], data[:, 2]
    largest = (1 << int(format.name[1])) - 1
    spread = np.maximum(values.max(axis=1), 0) - np.minimum(values.min(axis=1), 0)
    np.testing.assert_allclose(scales, spread / largest, rtol=1e-3)
    for row, scale, zero, found in zip(values, scales, zeros, formats.dequantize(format, data, n), strict=True):
        expected = torch.fake_quantize_per_tensor_affine(torch.from_numpy(row), float(scale), int(zero), 0, largest)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
