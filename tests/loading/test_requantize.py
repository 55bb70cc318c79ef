"""Tensors made in other bits while they are read."""

import numpy as np
import pytest

from nearlight.dtypes import F32, Q4_0
from nearlight.errors import PackageError
from nearlight.formats import quantize
from nearlight.loading import requantize
from nearlight.package.tensors import StoredTensor


@pytest.mark.parametrize("n_rows", [1, 16, 23, 50])
@pytest.mark.parametrize("values_at_a_time", [1, 128, 500, 10_000])
def test_rows_are_requantized_in_pieces_of_any_size(
    n_rows: int, values_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requantize, "_VALUES", values_at_a_time)
    values = np.random.default_rng(1).normal(size=(37, 64)).astype(np.float32)
    released = []
    tensor = StoredTensor("w", F32, (37, 64), lambda: values.view(np.uint8), lambda: released.append(1))
    made = requantize.requantized(tensor, Q4_0)
    pieces = list(made.in_pieces(n_rows))
    assert [len(piece) for piece in pieces[:-1]] == [n_rows] * (len(pieces) - 1)
    assert len(released) == len(pieces)
    assert np.array_equal(np.concatenate(pieces), quantize(Q4_0, values))
    assert np.array_equal(made.read(), quantize(Q4_0, values))


def test_what_cannot_be_requantized_is_named() -> None:
    values = np.ones((37, 64), np.float32)
    values[19, 3] = np.inf
    tensor = StoredTensor("w.weight", F32, (37, 64), lambda: values.view(np.uint8))
    with pytest.raises(PackageError, match=r"w\.weight, rows from 0: expected finite numbers"):
        requantize.requantized(tensor, Q4_0).read()
