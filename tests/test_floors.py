"""The house is as its picture says. The imports themselves are checked by import-linter (`make lint`)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "src/nearlight").rglob("*.py"))
HEAVY = {"torch", "tokenizers", "jinja2", "pygments", "prompt_toolkit", "huggingface_hub", "transformers"} | {
    "nearlight.cli",
    "nearlight.terminal",
}


def floors_in_contract() -> list[set[str]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract for contract in settings["contracts"] if contract["type"] == "layers")["layers"]
    return [set(re.findall(r"\w+", layer)) for layer in layers]


def floors_in_picture(text: str) -> list[set[str]]:
    """Read the fenced block whose first line is `cli`: a floor to a line, then what its rooms are for."""
    picture = re.search(r"^```text\n(cli\b.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert picture, "docs/architecture.md has no picture of the floors"
    return [set(re.findall(r"\w+", line.split("   ")[0])) for line in picture[1].splitlines() if line.strip()]


def test_picture_shows_the_floors_that_are_enforced():
    assert floors_in_picture((ROOT / "docs/architecture.md").read_text()) == floors_in_contract()


def test_every_room_is_on_a_floor():
    rooms = {path.relative_to(ROOT / "src/nearlight").parts[0].removesuffix(".py") for path in MODULES}
    assert rooms - {"__init__", "__main__"} <= set().union(*floors_in_contract())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_module_says_what_it_is_for(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_native_code_is_called_where_it_may_be():
    callers = {
        path.relative_to(ROOT / "src/nearlight")
        for path in MODULES
        if re.search(r"^\s*(from nearlight import|import nearlight\.)\b.*_native", path.read_text(), re.M)
    }
    homes = {str(path if path.parts[0] == "decode" else path.parent) for path in callers}
    assert homes == {"kernels/cpu", "machine", "decode/ranking.py"}


def test_import_loads_nothing_heavy():
    code = f"import sys, nearlight; print(*sorted({HEAVY!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
