"""Highlights code line by line while it is being written.

A lexer needs what came before a line (an open string, a comment), but not all of it: a line that begins at the margin
outside any string or comment starts afresh, and whatever is above it is forgotten. So the cost of a line does not grow
with the code.
"""

from __future__ import annotations

from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text

TAB_CELLS = 4
THEME = "ansi_dark"
"""The terminal's own colours, which a person has chosen to be readable."""

_Kind = tuple[str, ...]
"""A kind of token as Pygments writes it, the general part first: ("Literal", "String", "Doc")."""


class CodeHighlighter:
    """Highlights the lines of one block of code in turn; an unknown language stays plain."""

    def __init__(self, language: str) -> None:
        self._theme = Syntax.get_theme(THEME)
        self._lexer = Syntax("", language).lexer if language else None
        self._context: list[str] = []

    def preview(self, line: str) -> Text:
        """Highlight a line that is still growing."""
        return self._highlight(line.expandtabs(TAB_CELLS))[0]

    def line(self, line: str) -> Text:
        """Highlight a finished line; the next one follows it."""
        line = line.expandtabs(TAB_CELLS)
        text, starts_afresh = self._highlight(line)
        if starts_afresh:
            self._context = []
        self._context.append(line)
        return text

    def _highlight(self, line: str) -> tuple[Text, bool]:
        tokens = self._tokens(line)
        inside = bool(tokens) and not {"String", "Comment"}.isdisjoint(tokens[0][0])
        text = Text()
        for kind, value in tokens:
            text.append(value, self._style(kind))
        return text, bool(line) and not line[0].isspace() and not inside

    def _style(self, kind: _Kind) -> Style:
        return self._theme.get_style_for_token(kind)

    def _tokens(self, line: str) -> list[tuple[_Kind, str]]:
        """Split a line into tokens, knowing the lines before it."""
        if self._lexer is None:
            return [(("Text",), line)]
        rows: list[list[tuple[_Kind, str]]] = [[]]
        for kind, value in self._lexer.get_tokens("\n".join((*self._context, line))):
            first, *others = value.split("\n")
            rows[-1].append((kind, first))
            rows += [[(kind, other)] for other in others]
        return [token for token in rows[len(self._context)] if token[1]]
