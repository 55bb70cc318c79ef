"""What a person sees when something goes wrong in any command, and how little is imported when nothing does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nearlight.cli import hub
from nearlight.cli.main import main
from nearlight.errors import PackageError
from tests.cli.conftest import ROOT, Command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            PackageError("size", where="f.gguf", expected=3, found=5),
            2,
            "nearlight: f.gguf: size: expected 3, found 5\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 2, "nearlight: not enough memory; try a smaller --context, or --weights w4\n"),
        (
            ZeroDivisionError("by\nzero"),
            70,
            "nearlight: unexpected ZeroDivisionError: by zero; this is a defect, please report it "
            "(NEARLIGHT_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_errors_are_one_line_and_a_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr(hub, "show", fail)
    monkeypatch.delenv("NEARLIGHT_DEBUG", raising=False)
    assert main(["list"]) == code
    assert capsys.readouterr() == ("", line)
    if code == 70:
        monkeypatch.setenv("NEARLIGHT_DEBUG", "1")
        with pytest.raises(ZeroDivisionError):
            main(["list"])


def imported_by(environment: dict[str, str], *arguments: str) -> set[str]:
    program = (
        "import sys; from nearlight.cli.main import main; code = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *arguments]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stderr.split())


def test_only_what_is_needed_is_imported(environment: dict[str, str], base_model: Path) -> None:
    assert not imported_by(environment, "--help") & {"numpy", "argparse", "pygments", "huggingface_hub"}
    loaded = imported_by(environment, "run", str(base_model), "a fox", "-n", "1", "-q")
    assert "nearlight.engine.language_model" in loaded
    assert not loaded & {"prompt_toolkit", "huggingface_hub.hf_api", "torch", "jinja2", "pygments"}


def test_a_character_the_terminal_lacks(nearlight: Command, base_model: Path) -> None:
    result = nearlight("run", str(base_model), "für 日本", "-n", "1", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert result.stdout.startswith("f?r ??")


def test_json_of_every_command_is_json(nearlight: Command, base_model: Path) -> None:
    assert json.loads(nearlight("list", "--json").stdout) == []
    assert json.loads(nearlight("inspect", str(base_model), "--json").stdout)["chat_template"] is None
