"""Stdin, stdout and stderr as whoever started us left them: closed, full, or with nobody at the other end.

A closed stream gets its place back, lest the next file to be opened takes it, and with it what is printed. An output
remembers that it could not be written, so that a full disk under stdout is told from any other failure, also where
nothing is buffered that could be tried again.

Source: gnulib's stdopen and closeout.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


class _Output(io.TextIOWrapper):
    """An output that tells afterwards how it failed."""

    error: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.error = error
            raise


def prepare() -> None:
    """Make the streams ones that can be used: read as empty, written or refused, and never short of a character."""
    for descriptor, name, mode, access in (
        (0, "stdin", "r", os.O_RDONLY),
        (1, "stdout", "w", os.O_RDONLY),  # so that writing fails: an answer is not thrown away in silence
        (2, "stderr", "w", os.O_WRONLY),
    ):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, access), descriptor)
            stream = open(descriptor, mode)  # noqa: SIM115  (for as long as the process lives)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    sys.stdout, sys.stderr = _remembering(sys.stdout), _remembering(sys.stderr)


def _remembering(stream: TextIO) -> TextIO:
    """Wrap a stream of the system's; a character that it lacks becomes a substitute in place of a traceback."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    return _Output(
        stream.buffer,
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def failed() -> dict[str, OSError]:
    """Return how outputs failed, by their names; what Python still flushes into them at exit goes nowhere."""
    errors = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Output) and stream.error is not None:
            errors[name] = stream.error
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return errors
