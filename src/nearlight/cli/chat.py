"""The chat: reads a message, streams the answer, and again, until Ctrl-D.

Ctrl-C stops an answer and keeps what came of it; at the prompt it throws the typed line away.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nearlight.cli.answer_view import AnswerView
from nearlight.cli.chat_commands import COMMANDS, ChatState, call
from nearlight.cli.dialogue import Dialogue
from nearlight.cli.progress import ProgressBar
from nearlight.cli.report import closing_line
from nearlight.cli.terminal import BOLD, DIM, keys_hidden, styled
from nearlight.cli.units import bytes_text
from nearlight.cli.wrapping import filled, say
from nearlight.errors import NearlightError, RequestError

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel


def chat(model: LanguageModel, dialogue: Dialogue, *, quiet: bool = False, markdown: bool = True) -> int:
    """Chat on the terminal until the person leaves; return the exit code."""
    state = ChatState(model, dialogue, markdown)
    print(_greeting(model, chats=dialogue.formatted))
    # Loaded after the greeting, which is then on the screen at once.
    from nearlight.cli.line_editor import LineEditor

    editor = LineEditor({name: command.summary for name, command in COMMANDS.items()})
    while not state.left:
        try:
            text = editor.read()
        except KeyboardInterrupt:
            _note("Ctrl-D or /exit leaves; /help says what else there is")
            continue
        except EOFError:
            break
        try:
            with keys_hidden():
                _handle(state, text, quiet)
        except KeyboardInterrupt:
            print()
        except NearlightError as error:
            _note(str(error))
    return 0


def _handle(state: ChatState, text: str, quiet: bool) -> None:
    if not text.strip():
        return
    if not call(state, text):
        _answer(state, text, quiet)


def _answer(state: ChatState, text: str, quiet: bool) -> None:
    view = AnswerView(sys.stdout, formatted=state.dialogue.formatted and state.markdown)
    with ProgressBar("reading the prompt", unit=" tokens") as bar:
        try:
            stream = state.dialogue.say(text, bar.update)
        except RequestError as error:
            raise RequestError(str(error), advice="/clear begins anew") from None
        if not state.dialogue.formatted:
            view.push(text.rpartition("\n")[2], "answer")
        try:
            for piece in stream:
                bar.close()
                view.push(piece.text, piece.channel)
        except KeyboardInterrupt:
            stream.close()
        finally:
            bar.close()
            view.finish()
            state.dialogue.ended(stream)
    completion = stream.completion
    state.count(completion)
    if not quiet:
        _note(closing_line(completion, state.limit()))
    print()


def _greeting(model: LanguageModel, *, chats: bool) -> str:
    package = model.package
    size = sum(tensor.n_bytes for tensor in package.tensors.values())
    figures = f"{package.model_type}, {bytes_text(size)}, context {model.context} tokens, {model.n_threads} threads"
    if chats:
        what = "Type a message. Alt-Enter begins a new line, Ctrl-C stops an answer, /help says more."
    else:
        what = (
            "Without a chat template there are no answers: what you type is completed, as one growing text.\n"
            "Alt-Enter begins a new line, Ctrl-C stops it, /clear begins anew, /help says more."
        )
    lines = ((package.name, BOLD), (figures, DIM), (what, DIM))
    return "".join(styled(filled(text, sys.stdout), style, sys.stdout) + "\n" for text, style in lines)


def _note(text: str) -> None:
    """Say something about the chat, which is no part of it."""
    say(text, DIM)
