"""Every malformed package, as a person meets it: one line on stderr, nothing on stdout, exit code 2."""

from pathlib import Path

import pytest

from nearlight.cli.main import main
from tests.attacks.malformed import REFUSED_WHEN_OPENED
from tests.attacks.models import Writer, write_config_shapes_disagree, write_gguf_nan_scales, write_tensor_missing

WRITERS = [write for write, _ in REFUSED_WHEN_OPENED]
WRITERS += [write_config_shapes_disagree, write_gguf_nan_scales, write_tensor_missing]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_run_ends_in_one_line(tmp_path: Path, write: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path)
    assert main(["run", "-m", str(source), "-p", "Hello", "-n", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nearlight: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
