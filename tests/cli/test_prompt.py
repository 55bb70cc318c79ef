"""What a prompt is made of, and that nobody waits for a pipe that says nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nearlight.cli import prompt
from nearlight.cli.prompt import Words, compose, piped_text, read_file, sort_words
from nearlight.errors import RequestError
from nearlight.terminal import tty
from tests.cli.conftest import ROOT, Command

Stdin = Callable[[int], None]
ASKED = Words("m", "Sum it up.")


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stdin]:
    """Make a descriptor this process's stdin."""
    opened = []

    def use(descriptor: int) -> None:
        opened.append(os.fdopen(descriptor))
        monkeypatch.setattr(sys, "stdin", opened[-1])

    yield use
    for stream in opened:
        stream.close()


@pytest.fixture
def piped(stdin: Stdin) -> Callable[[bytes], None]:
    """Pipe bytes in, and close the pipe."""

    def use(data: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        stdin(reading)

    return use


def test_files_then_the_pipe_then_what_was_typed(piped: Callable[[bytes], None], tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"file {name}\r\n")
    files = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    piped(b"piped\n\n")
    assert compose(ASKED, files) == "file a.txt\n\nfile b.txt\n\npiped\n\n\nSum it up."


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (ASKED, "piped\n\nSum it up."),
        (Words("m", "Sum it up.", stdin_at="before"), "piped\n\nSum it up."),
        (Words("m", "Sum it up:", stdin_at="after"), "Sum it up:\n\npiped"),
        (Words("m", None, stdin_at="after"), "piped"),
        (Words("m", None), "piped"),
    ],
)
def test_where_the_pipe_goes(piped: Callable[[bytes], None], words: Words, whole: str) -> None:
    piped(b"piped\n")
    assert compose(words) == whole


def test_a_dash_for_a_file(piped: Callable[[bytes], None]) -> None:
    piped(b"piped")
    assert compose(ASKED, ["-"]) == "piped\n\nSum it up."


def test_an_empty_pipe_changes_nothing(piped: Callable[[bytes], None]) -> None:
    piped(b"")
    assert compose(ASKED) == "Sum it up."
    piped(b"\n")
    with pytest.raises(RequestError, match="the prompt is empty"):
        compose(Words("m", None))


def test_files_and_sockets_are_read(stdin: Stdin, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("from a file")
    stdin(os.open(tmp_path / "x", os.O_RDONLY))
    assert piped_text() == "from a file"
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b"from a socket")
    stdin(theirs.detach())
    assert piped_text() == "from a socket"


def test_nothing_that_holds_no_text_is_read(stdin: Stdin, tmp_path: Path) -> None:
    leader, follower = os.openpty()
    for descriptor in (os.open(os.devnull, os.O_RDONLY), os.open("/dev/zero", os.O_RDONLY), follower):
        stdin(descriptor)
        assert piped_text() == ""
    os.close(leader)
    stdin(os.open(os.devnull, os.O_RDONLY))
    sys.stdin.close()
    assert piped_text() == ""


def test_a_silent_pipe_is_given_up_and_that_is_said(
    stdin: Stdin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prompt, "PATIENCE_S", 0.0)
    reading, writing = os.pipe()
    stdin(reading)
    assert compose(ASKED) == "Sum it up."
    assert capsys.readouterr().err == (
        "nearlight: nothing came from stdin within 0 s, so it is left out; `-` waits, `< /dev/null` does not\n"
    )
    os.close(writing)


def test_a_person_is_told_and_waits(
    stdin: Stdin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prompt, "NOTICE_S", 0.0)
    monkeypatch.setattr(tty, "is_terminal", lambda stream: stream is sys.stderr)
    reading, writing = os.pipe()
    stdin(reading)
    said = tty.styled

    def note(text: str, style: str, stream: object) -> str:
        os.write(writing, b"late")
        os.close(writing)
        return said(text, style, sys.stdout)

    monkeypatch.setattr(tty, "styled", note)
    assert compose(ASKED) == "late\n\nSum it up."
    assert "waiting for what is piped in" in capsys.readouterr().err


def test_an_inherited_pipe_does_not_hang(environment: dict[str, str], base_model: Path) -> None:
    program = (
        "import sys; from nearlight.cli import main, prompt; prompt.PATIENCE_S = 0; sys.exit(main.main(sys.argv[1:]))"
    )
    reading, writing = os.pipe()  # kept open by this process, as a server would
    command = [sys.executable, "-c", program, "run", str(base_model), "lazy", "-n", "1"]
    with os.fdopen(reading), os.fdopen(writing, "w"):
        done = subprocess.run(
            command, env=environment, cwd=ROOT, stdin=reading, capture_output=True, text=True, check=True
        )
    assert done.stdout.startswith("lazy")
    assert "nothing came from stdin" in done.stderr


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"caf\xe9", "not a text: expected UTF-8, found another byte at 3; `iconv -t UTF-8` converts it"),
        (b"GGUF\0\1", "not a text: expected UTF-8, found a null byte at 4"),
    ],
)
def test_a_file_must_be_text(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(RequestError) as caught:
        read_file(str(path))
    assert str(caught.value) == f"{path}: {complaint}"


@pytest.mark.parametrize(("name", "reason"), [("no", "No such file"), (".", "Is a directory"), ("a\0b", "embedded")])
def test_a_file_must_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match=rf"cannot be read \({reason}"):
        read_file(name)


def test_what_is_piped_in_may_hold_other_bytes(
    piped: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    piped(b"-caf\xe9\n+caf\xc3\xa9\n")
    assert piped_text() == "-caf\ufffd\n+caf\u00e9"
    assert "is not all UTF-8" in capsys.readouterr().err
    piped(b"\x89PNG\r\n\x1a\n\0")
    with pytest.raises(RequestError, match=r"^stdin: not a text: expected UTF-8, found a null byte at 8"):
        piped_text()


def test_run_takes_files_and_pipes(nearlight: Command, base_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes\n")
    options = ("-n", "1", "-f", str(tmp_path / "notes.txt"))
    assert nearlight("run", *options, str(base_model), "fox", stdin="dog\n").stdout.startswith("notes\n\ndog\n\nfox")
    assert nearlight("run", str(base_model), *options).stdout.startswith("notes")
    refused = nearlight("run", str(base_model), "-f", str(tmp_path))
    assert (refused.returncode, refused.stderr) == (2, f"nearlight: {tmp_path}: cannot be read (Is a directory)\n")


# -- which word is what ------------------------------------------------------------------------------------------------

AS_PROMPT = "as a prompt for pico: nearlight run -p "


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], Words(None, None)),
        (["def fib(n):"], Words(None, "def fib(n):")),
        (["two\nlines"], Words(None, "two\nlines")),
        ([""], Words(None, "")),
        (["a/b"], Words("a/b", None)),
        (["a/b:Q4_K_M", "Why?"], Words("a/b:Q4_K_M", "Why?")),
        (["x.gguf"], Words("x.gguf", None)),
        (["model", "prompt"], Words("model", "prompt", advice=AS_PROMPT + "'model prompt'")),
        (["def"], Words("def", None, advice=AS_PROMPT + "def")),
        (["print(1)"], Words("print(1)", None, advice=AS_PROMPT + "'print(1)'")),
        (["qwen3-8b"], Words("qwen3-8b", None, advice=AS_PROMPT + "qwen3-8b")),
        (["a/b", "-"], Words("a/b", None, stdin_at="after")),
        (["a/b", "Sum up:", "-"], Words("a/b", "Sum up:", stdin_at="after")),
        (["a/b", "-", "Sum up."], Words("a/b", "Sum up.", stdin_at="before")),
        (["-"], Words(None, None, stdin_at="after")),
    ],
)
def test_words(words: list[str], expected: Words) -> None:
    assert sort_words(words) == expected


def test_flags_leave_nothing_to_guess() -> None:
    assert sort_words(["a/b"], model="m") == Words("m", "a/b")
    assert sort_words(["hello"], model="m") == Words("m", "hello")
    assert sort_words(["m"], prompt="p") == Words("m", "p")
    assert sort_words([], prompt="a/b") == Words(None, "a/b")
    for words, model, typed in ((["a", "b", "c"], None, None), (["a"], "m", "p"), (["a", "b"], "m", None)):
        with pytest.raises(RequestError, match="too many words"):
            sort_words(words, model, typed)
