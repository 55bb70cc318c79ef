"""Files of a tokenizer, as bytes: one complaint about all that cannot be read, and none about what is in them."""

from __future__ import annotations

import stat
from pathlib import Path

from nearlight.errors import TextError


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises: TextError naming it and the system's reason."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise TextError("not a regular file", where=path)  # a pipe would be waited for
        return path.read_bytes()
    except OSError as error:
        raise TextError(f"cannot be read ({error.strerror})", where=path) from None
