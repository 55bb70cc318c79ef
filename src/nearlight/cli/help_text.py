"""Help at any width: argparse's pages, with options above their texts where there is no room beside them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable

from nearlight.cli import terminal
from nearlight.cli.wrapping import WIDEST, folded

_BESIDE = 60
"""A terminal as wide as this has room for options and their texts side by side."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of examples, fills everything else, and cuts no word."""

    def __init__(self, prog: str) -> None:
        width = min(terminal.width(), WIDEST)
        super().__init__(prog, max_help_position=24 if width >= _BESIDE else 6, width=width)

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        """Name what has no flag; the flags follow below."""
        if usage is None:
            words = [self._format_args(action, str(action.dest)) for action in actions if not action.option_strings]
            usage = " ".join((self._prog, *(word.upper() for word in words), "[options]"))
        return folded(f"usage: {usage}", self._width, "       ") + "\n\n"

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading and folded(heading, self._width - 1))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        flags = super()._format_action_invocation(action)
        return folded(" " * self._current_indent + flags, self._width).lstrip(" ")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # A line end within a paragraph is only that of the source.
        return folded(re.sub(r"(?<=\S)\n(?=\S)", " ", text), width)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return folded(" ".join(text.split()), width).split("\n")
