"""Files of a package that cannot be read, or are cut, say so: one line with the file and the system's reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import nearlight
from nearlight.cli.main import main
from nearlight.errors import NearlightError, TextError
from nearlight.package import open_package
from nearlight.package.package import TokenizerFiles
from nearlight.text.tokenizer import build_tokenizer
from tests.cli.packages import write_chat_model

FILES = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Chat")


@pytest.fixture
def package(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "package"))


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch):
    """Take the permission to read a file away; from the owner of everything as well, who runs tests in containers."""

    def forbid(path: Path) -> None:
        opening = Path.open

        def opened(self: Path, *arguments: Any, **options: Any) -> Any:
            if self.name == path.name:
                raise PermissionError(13, "Permission denied", str(self))
            return opening(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", opened)

    return forbid


def complaint(source: Path) -> str:
    with pytest.raises(NearlightError) as caught:
        nearlight.load(source).generate("Hello", max_tokens=1)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_no_permission(package: Path, forbid, name: str) -> None:
    forbid(package / name)
    assert complaint(package) == f"{package / name}: cannot be read (Permission denied)"


@pytest.mark.parametrize("name", FILES)
def test_a_directory_in_place_of_a_file(package: Path, name: str) -> None:
    (package / name).unlink()
    (package / name).mkdir()
    assert complaint(package) == f"{package / name}: cannot be read (Is a directory)"


@pytest.mark.parametrize("name", [name for name in FILES if name != "model.safetensors"])
def test_a_pipe_in_place_of_a_file(package: Path, name: str) -> None:
    (package / name).unlink()
    os.mkfifo(package / name)
    assert complaint(package) == f"{package / name}: not a regular file"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_file_that_is_cut(package: Path, name: str, kept: float) -> None:
    path = package / name
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    if name == "chat_template.jinja" and not kept:
        assert complaint(package)  # an empty template is one: it makes an empty prompt
        return
    line = complaint(package)
    assert str(path) in line or (name == "chat_template.jinja" and "chat template" in line), line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["m.gguf", "m-00001-of-00002.gguf"])
def test_gguf(tmp_path: Path, forbid, name: str) -> None:
    for each in (name, "m-00002-of-00002.gguf"):
        (tmp_path / each).write_bytes(b"GGUF")
    forbid(tmp_path / name)
    with pytest.raises(NearlightError, match=r"cannot be read \(Permission denied\)$"):
        open_package(tmp_path / name)


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        ("tokenizer.json", ["tokenizer.json"]),
        ("sentencepiece", ["tokenizer.model"]),
        ("vocab+merges", ["vocab.json", "merges.txt"]),
    ],
)
def test_every_layout_of_a_tokenizer(tmp_path: Path, forbid, layout: str, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text('{"a": 0}' if name == "vocab.json" else "")
    forbid(tmp_path / names[-1])
    with pytest.raises(TextError) as caught:
        build_tokenizer(TokenizerFiles(layout, tmp_path, {}))
    assert str(caught.value) == f"{tmp_path / names[-1]}: cannot be read (Permission denied)"


def test_a_directory_that_may_not_be_entered(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Path.stat

    def stat(self: Path, **options: Any) -> os.stat_result:
        if package in self.parents:
            raise PermissionError(13, "Permission denied", str(self))
        return looking(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    for source in (package, str(package / "model.gguf")):
        with pytest.raises(NearlightError, match=r"cannot be read \(Permission denied\)$"):
            nearlight.load(source)


def test_the_command_line_says_so(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "tokenizer.json").unlink()
    (package / "tokenizer.json").mkdir()
    for command in (["run", str(package), "-p", "hello"], ["inspect", str(package)]):
        assert main(command) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line == f"nearlight: {package}/tokenizer.json: cannot be read (Is a directory)"
