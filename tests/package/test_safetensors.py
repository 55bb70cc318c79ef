"""The safetensors reader against the safetensors library, and dtypes beyond weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nearlight import formats
from nearlight.dtypes import BF16, F16, F32
from nearlight.errors import UnsupportedError
from nearlight.package.safetensors import read_safetensors


def test_shapes_formats_and_values_equal_the_library(tmp_path: Path) -> None:
    tensors = {
        "single": torch.tensor(2.5),
        "vector": torch.randn(7).half(),
        "matrix": torch.randn(3, 5).bfloat16(),
        "cube": torch.randn(2, 3, 5),
        "empty": torch.zeros(0, 5),
    }
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    read = read_safetensors(tmp_path / "a.safetensors")
    assert {name: tensor.format for name, tensor in read.items()} == {
        "single": F32, "vector": F16, "matrix": BF16, "cube": F32, "empty": F32,
    }  # fmt: skip
    for name, tensor in tensors.items():
        stored = read[name]
        assert stored.shape == tuple(tensor.shape)
        actual = formats.dequantize(stored.format, stored.read(), stored.row_length).reshape(stored.shape)
        np.testing.assert_array_equal(actual, tensor.float().numpy())


def test_doubles_become_f32(tmp_path: Path) -> None:
    doubles = torch.randn(3, 5, dtype=torch.float64)
    save_file({"a": doubles}, tmp_path / "a.safetensors")
    stored = read_safetensors(tmp_path / "a.safetensors")["a"]
    assert stored.format == F32
    np.testing.assert_array_equal(formats.dequantize(F32, stored.read(), 5), doubles.float().numpy())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int64, torch.bool], ids=str)
def test_other_types_are_refused_only_when_read(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"odd": torch.zeros(3, 5).to(dtype), "fine": torch.ones(2)}, path)
    read = read_safetensors(path)
    assert read["fine"].read().shape == (1, 8)
    assert read["odd"].n_bytes == 15 * dtype.itemsize
    with pytest.raises(UnsupportedError, match=r"type of tensor 'odd': expected one of F32 F16 BF16"):
        read["odd"].read()
