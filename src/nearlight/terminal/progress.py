"""A progress bar on stderr, for people only: nothing is written where stderr is no terminal, or when it is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic

from nearlight.quantities import seconds_text
from nearlight.terminal import tty
from nearlight.terminal.wrapping import clipped, display_width

REFRESH_S = 0.1


class ProgressBar:
    """One line that is rewritten in place and erased at the end.

    Units: appears after `delay_s` seconds of `clock`. `amount_text` writes an amount (None: only the part is told),
    `unit` follows the last of them.
    """

    def __init__(
        self,
        label: str,
        amount_text: Callable[[int], str] | None = str,
        unit: str = "",
        *,
        delay_s: float = 1.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._label = label
        self._amount_text = amount_text
        self._unit = unit
        self._clock = clock
        self._started = clock()
        self._next = self._started + delay_s
        self._shown = False
        self._active = tty.is_terminal(sys.stderr)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, done: int, total: int) -> None:
        """Show how much is done, if it is time to."""
        now = self._clock()
        if self._active and now >= self._next and total > 0:
            self._next = now + REFRESH_S
            self._shown = True
            sys.stderr.write("\r" + self._line(done, total, now - self._started) + "\x1b[K")
            sys.stderr.flush()

    def close(self) -> None:
        """Erase the bar; it does not come back."""
        self._active = False
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self, done: int, total: int, elapsed_s: float) -> str:
        part = min(done / total, 1.0)
        left = f", {seconds_text(elapsed_s * (1 - part) / part)} left" if 0.02 < part < 1 else ""
        amount = f" {part:4.0%}"
        if self._amount_text:
            amount += f"  {self._amount_text(done)} of {self._amount_text(total)}{self._unit}{left}"
        room = tty.width() - 1
        label = clipped(self._label, max(room - len(amount) - 12, 8))
        n_cells = max(min(room - display_width(label) - len(amount) - 1, 30), 0)
        filled = round(part * n_cells)
        return clipped(f"{label} {'█' * filled}{'░' * (n_cells - filled)}{amount}", room)
