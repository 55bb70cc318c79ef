"""All malformed packages: what is refused when it is opened, with the message, and what opens and fails later."""

from __future__ import annotations

from tests.attacks import directories, ggufs
from tests.attacks.models import OPENS
from tests.attacks.sound import Writer

__all__ = ["OPENS", "REFUSED_WHEN_OPENED"]

REFUSED_WHEN_OPENED: list[tuple[Writer, str]] = directories.REFUSED + ggufs.REFUSED
