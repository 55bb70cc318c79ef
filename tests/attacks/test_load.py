"""Packages whose container is sound: the fault is met when the model is bound or used, and still is one line."""

from pathlib import Path

import pytest

import nearlight
from nearlight.errors import NearlightError
from tests.attacks import models

FAULTS = [
    (models.write_config_shapes_disagree, "by its config"),
    (models.write_gguf_shapes_disagree, "by its config"),
    (models.write_config_more_layers_than_tensors, "num_hidden_layers: expected at most 12, the number of its tensors"),
    (models.write_gguf_more_layers_than_tensors, "num_hidden_layers: expected at most 12, the number of its tensors"),
    (models.write_config_head_beyond_the_tensors, "head_dim: expected at most 96, the largest axis of its tensors"),
    (models.write_config_unknown_family, "perceptron"),
    (models.write_gguf_unknown_family, "perceptron"),
    (models.write_tensor_missing, "up_proj.weight is missing"),
    (models.write_nan_weights, "found nan for token"),
    (models.write_gguf_nan_scales, "NaN"),
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(("write", "message"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_one_line(tmp_path: Path, write: models.Writer, message: str, backend: str) -> None:
    source = write(tmp_path)
    with pytest.raises(NearlightError, match=message) as caught:
        nearlight.load(source, backend=backend).generate([1, 2, 3], max_tokens=2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_names_cannot_steer_a_terminal() -> None:
    assert str(NearlightError("tensor \x1b[2Jevil\nname")) == "tensor \ufffd[2Jevil name"
