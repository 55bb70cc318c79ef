"""Streaming Markdown: however the text is cut, the screen ends up as if it had come at once."""

from __future__ import annotations

import random

import pytest

from nearlight.cli import terminal
from nearlight.cli.markdown_blocks import BlockSplitter, CodeLine, FenceClosed, FenceOpened, TextBlock
from nearlight.cli.markdown_code import CodeHighlighter
from nearlight.cli.markdown_view import MarkdownView
from tests.cli.screen import Screen
from tests.effort import calls

ANSWER = """\
# A heading

Some *emphasis* and `code` in a paragraph that is long enough to be wrapped at the width of a narrow window.

1. first
2. second
   - nested
   - more of it
3. third

   with a second paragraph

   ```python
   def f(x):
       '''A text
       of two lines'''
       return x
   ```

| a | b |
|---|---|
| one | 2 |

> quoted

- bullet
- bullet
```
no language
```
## Next
Last words
"""


@pytest.fixture(params=[(34, 40), (70, 6)], ids=["narrow", "low"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    width, height = request.param
    monkeypatch.setattr(terminal, "width", lambda: width)
    monkeypatch.setattr(terminal, "height", lambda: height)
    monkeypatch.setattr("nearlight.cli.markdown_view.REDRAW_S", 0.0)
    return Screen(width, height)


def shown(pieces: list[str], screen: Screen) -> list[str]:
    view = MarkdownView(screen)  # type: ignore[arg-type]
    for piece in pieces:
        view.push(piece)
    view.finish()
    return [row.rstrip() for row in screen.rows]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_streamed_equals_at_once(screen: Screen, seed: int) -> None:
    rest, pieces, random_ = ANSWER, [], random.Random(seed)
    while rest:
        length = random_.randint(1, 7)
        pieces.append(rest[:length])
        rest = rest[length:]
    at_once = shown([ANSWER], Screen(screen.width, screen.height))
    assert shown(pieces, screen) == at_once
    text = "\n".join(at_once)
    assert "A heading\n\nSome emphasis and code in a" in text
    assert "```python\ndef f(x):\n    '''A text\n    of two lines'''\n    return x\n```\n" in text
    assert "• bullet\n • bullet\n\n```\nno language\n```\n\nNext\n\nLast words\n" in text


def test_a_paragraph_taller_than_the_screen(screen: Screen) -> None:
    words = [f"word{number} " for number in range(120)]
    rows = shown(words, screen)
    assert " ".join(rows).split() == "".join(words).split()


def test_control_characters_never_reach_the_terminal(screen: Screen) -> None:
    rows = shown(["a\x1b]0;title\x07b\x1b[2J\rc"], screen)  # the screen raises at what it does not know
    assert rows == ["a]0;titleb[2Jc", ""]


def test_what_is_finished_is_not_rendered_again(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    rendered = MarkdownView._text_rows

    def counted(view: MarkdownView, block: TextBlock) -> list[str]:
        sizes.append(len(block.source))
        return rendered(view, block)

    monkeypatch.setattr(MarkdownView, "_text_rows", counted)
    shown(["paragraph of text\n\n", "- item\n"] * 40, screen)
    assert max(sizes) < 40


def test_blocks() -> None:
    splitter = BlockSplitter()
    assert splitter.push("a\nb\n\nc") == [TextBlock("a\nb", False)]
    assert splitter.tail == TextBlock("c", True)
    assert splitter.push("\n``") == []
    assert splitter.tail == TextBlock("c", True)  # what may become a fence waits
    assert splitter.push("`py\nx = 1\n``") == [TextBlock("c", True), FenceOpened("py"), CodeLine("x = 1")]
    assert splitter.tail.source == ""
    assert splitter.push("`\n") == [FenceClosed()]
    assert splitter.push("- i\n  more\n- j\n") == [TextBlock("- i\n  more", True)]
    assert splitter.finish() == [TextBlock("- j", False)]


def test_an_answer_cut_off_in_code_is_closed() -> None:
    splitter = BlockSplitter()
    splitter.push("```\ncode\n  ")
    assert splitter.finish() == [FenceClosed()]


def test_code_is_highlighted_as_if_whole() -> None:
    highlighter = CodeHighlighter("python")
    lines = ["x = '''", "def no", "'''", "def yes(): pass"]
    styles = [str(highlighter.line(line).spans[0].style) for line in lines]
    assert "yellow" in styles[1]  # still the string
    assert "blue" in styles[3]  # a keyword again
    assert CodeHighlighter("no-such-language").line("a\tb").plain == "a   b"


def test_a_line_of_long_code_costs_as_much_as_one_of_short() -> None:
    def highlight(n_lines: int) -> None:
        highlighter = CodeHighlighter("python")
        for number in range(n_lines):
            highlighter.line(f"def f{number}(x):" if number % 3 == 0 else "    return x + 'text'")
        assert len(highlighter._context) <= 3

    highlight(9)
    assert calls(lambda: highlight(900)) < 11 * calls(lambda: highlight(90))
