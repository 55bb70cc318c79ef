"""Highlights code line by line while it is being written.

A lexer needs what came before a line (an open string, a comment), but not all of it: a line that begins at the margin
outside any string or comment starts afresh, and whatever is above it is forgotten. So the cost of a line does not grow
with the code. Highlighting only styles: a line keeps its characters, whatever a lexer makes of them.
"""

from __future__ import annotations

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Generic, Keyword, Literal, Name, Operator, _TokenType
from pygments.util import ClassNotFound

from nearlight.terminal.wrapping import Span

_STYLES: dict[_TokenType, str] = {
    Comment: "2",
    Comment.Preproc: "96",
    Keyword: "94",
    Keyword.Type: "96",
    Operator.Word: "95",
    Name.Builtin: "96",
    Name.Function: "92",
    Name.Namespace: "96",
    Name.Class: "92",
    Name.Exception: "96",
    Name.Decorator: "95",
    Name.Variable: "91",
    Name.Constant: "91",
    Name.Attribute: "96",
    Name.Tag: "94",
    Literal.String: "33",
    Literal.Number: "94",
    Generic.Deleted: "91",
    Generic.Inserted: "92",
    Generic.Heading: "1",
    Generic.Subheading: "1",
    Generic.Prompt: "1",
}
"""The terminal's own colours, which a person has chosen to be readable. A kind not named here has its parent's."""


class CodeHighlighter:
    """Highlights the lines of one block of code in turn; an unknown language stays plain."""

    def __init__(self, language: str) -> None:
        self._lexer = _lexer(language)
        self._context: list[str] = []

    def preview(self, line: str) -> list[Span]:
        """Highlight a line that is still growing."""
        return [(text, _style(kind)) for kind, text in self._tokens(line)]

    def line(self, line: str) -> list[Span]:
        """Highlight a finished line; the next one follows it."""
        tokens = self._tokens(line)
        inside = bool(tokens) and (tokens[0][0] in Literal.String or tokens[0][0] in Comment)
        if line and not line[0].isspace() and not inside:
            self._context = []
        self._context.append(line)
        return [(text, _style(kind)) for kind, text in tokens]

    def _tokens(self, line: str) -> list[tuple[_TokenType, str]]:
        """Split a line into tokens, knowing the lines before it."""
        plain = [(Generic, line)]
        if self._lexer is None:
            return plain
        rows: list[list[tuple[_TokenType, str]]] = [[]]
        for kind, value in self._lexer.get_tokens("\n".join((*self._context, line))):
            first, *others = value.split("\n")
            rows[-1].append((kind, first))
            rows += [[(kind, other)] for other in others]
        tokens = [token for token in rows[min(len(self._context), len(rows) - 1)] if token[1]]
        return tokens if "".join(text for _, text in tokens) == line else plain


def _lexer(language: str) -> Lexer | None:
    try:
        return get_lexer_by_name(language, stripnl=False) if language else None
    except ClassNotFound:
        return None


def _style(kind: _TokenType) -> str:
    while kind.parent is not None and kind not in _STYLES:
        kind = kind.parent
    return _STYLES.get(kind, "")
