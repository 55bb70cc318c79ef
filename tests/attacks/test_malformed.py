"""Every malformed package gets one line that says where and what, and nothing else comes out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nearlight import formats
from nearlight.errors import NearlightError
from nearlight.package import open_package
from tests.attacks import models, sound
from tests.attacks.malformed import OPENS, REFUSED_WHEN_OPENED
from tests.attacks.sound import Writer


def name_of(value: object) -> str | None:
    return value.__name__ if callable(value) else None


@pytest.mark.parametrize(("write", "message"), REFUSED_WHEN_OPENED, ids=name_of)
def test_is_refused_in_one_line(tmp_path: Path, write: Writer, message: str) -> None:
    path = write(tmp_path / "package")
    with pytest.raises(NearlightError) as caught:
        open_package(path)
    line = str(caught.value)
    assert re.search(message, line), line
    assert "\n" not in line
    assert str(tmp_path) in line
    assert len(line) < 600
    assert caught.value.__cause__ is None


def test_the_sound_packages_they_were_made_from_open(tmp_path: Path) -> None:
    directory = open_package(sound.write_sound_directory(tmp_path / "directory"))
    file = open_package(sound.write_sound_gguf(tmp_path))
    assert {name: tensor.shape for name, tensor in directory.tensors.items()} == sound.LLAMA_SHAPES
    assert {name: tensor.shape for name, tensor in file.tensors.items()} == sound.LLAMA_SHAPES
    for name, values in sound.weights().items():
        stored = directory.tensors[name]
        np.testing.assert_array_equal(
            formats.dequantize(stored.format, stored.read(), stored.row_length).ravel(), values.ravel()
        )


@pytest.mark.parametrize("write", OPENS, ids=name_of)
def test_a_sound_container_opens_whatever_is_in_it(tmp_path: Path, write: Writer) -> None:
    package = open_package(write(tmp_path / "package"))
    for tensor in package.tensors.values():
        assert tensor.read().shape == (tensor.n_rows, tensor.format.row_bytes(tensor.row_length))


def test_bad_scales_can_be_found(tmp_path: Path) -> None:
    head = open_package(models.write_gguf_nan_scales(tmp_path)).tensors["lm_head.weight"]
    assert formats.first_non_finite_row(head.format, head.read(), head.row_length) == sound.VOCAB - 1
    package = open_package(models.write_nan_weights(tmp_path / "directory"))
    up = package.tensors["model.layers.0.mlp.up_proj.weight"]
    assert formats.first_non_finite_row(up.format, up.read(), up.row_length) == 5
