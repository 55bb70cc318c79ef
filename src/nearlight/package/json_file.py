"""JSON files of a package: small, UTF-8, one object each."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from nearlight.errors import PackageError

MAX_TEXT_BYTES = 64 << 20
"""Index files of the largest models reach a few megabytes."""


def read_text(path: Path) -> str:
    """Read a text file of the package.

    Raises: PackageError when it cannot be read, is absurdly large, or is not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise PackageError("not a regular file", where=path)  # a pipe would be waited for
        if status.st_size > MAX_TEXT_BYTES:
            expected = f"a file of at most {MAX_TEXT_BYTES} bytes"
            raise PackageError("size", where=path, expected=expected, found=f"{status.st_size} bytes")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PackageError(f"cannot be read ({error.strerror})", where=path) from None
    except UnicodeDecodeError as error:
        raise PackageError(f"not UTF-8 text (byte {error.start})", where=path) from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file is an empty one.

    Non-finite numbers are accepted in both of their spellings, bare `Infinity` and `{"__float__": "Infinity"}`.
    Raises: PackageError when it is not a JSON object.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(read_text(path), object_hook=_float_object)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise PackageError(f"not valid JSON ({reason})", where=path) from None
    if not isinstance(content, dict):
        raise PackageError("content", where=path, expected="a JSON object", found=type(content).__name__)
    return content


def _float_object(content: dict[str, Any]) -> Any:
    return float(content["__float__"]) if content.keys() == {"__float__"} else content
