"""The chat: reads a message, streams the answer, and again, until Ctrl-D.

Ctrl-C stops an answer and keeps what came of it; at the prompt it throws the typed line away.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nearlight.cli.chat.commands import COMMANDS, call
from nearlight.cli.chat.context import OFFERS, make_room, room_for_an_answer, too_long
from nearlight.cli.chat.model import model_line
from nearlight.cli.chat.settings import Settings
from nearlight.cli.chat.state import ChatState, Opener
from nearlight.cli.summary import closing_line
from nearlight.errors import NearlightError, RequestError
from nearlight.terminal.answer import AnswerView
from nearlight.terminal.keys import keys_hidden, suspendable
from nearlight.terminal.progress import ProgressBar
from nearlight.terminal.tty import BOLD, DIM, styled
from nearlight.terminal.wrapping import filled, say


def chat(
    opener: Opener,
    path: Path,
    name: str,
    settings: Settings,
    *,
    system: str | None = None,
    quiet: bool = False,
) -> int:
    """Chat on the terminal until the person leaves; return the exit code.

    The model is loaded here and held by nothing else, so that another can take its place.
    """
    state = ChatState(opener, path, name, settings, system)
    print(_greeting(state))
    # Loaded after the greeting, which is then on the screen at once.
    from nearlight.terminal.line_editor import LineEditor

    editor = LineEditor(COMMANDS)
    state.ask = lambda question: editor.confirm(filled(f"{question} [y/N]", sys.stdout) + " ")
    while not state.left:
        try:
            typed, state.typed = state.typed, ""
            text = editor.read(typed)
        except KeyboardInterrupt:
            _note("Ctrl-D or /exit leaves; /help says what else there is")
            continue
        except EOFError:
            break
        try:
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
    elif state.regenerates:
        state.regenerates = False
        _answer(state, None, quiet)


def _answer(state: ChatState, text: str | None, quiet: bool) -> None:
    """Show the answer to a text; None asks for another to the last one."""
    dialogue, settings, context = state.dialogue, state.settings, state.model.context
    if settings["trim"]:
        was_cut = text is None and state.last is not None and state.last.limit_reached == "context"
        room = room_for_an_answer(context, settings["max_tokens"], was_cut=was_cut)
        if dropped := make_room(dialogue, context, text, room):
            _note(dropped)
    view = AnswerView(sys.stdout, formatted=dialogue.formatted and settings["markdown"])
    with keys_hidden(), ProgressBar("reading the prompt", unit=" tokens") as bar:
        try:
            stream = dialogue.again(bar.update) if text is None else dialogue.say(text, bar.update)
        except RequestError as error:
            raise too_long(dialogue, context, text) or error from None
        if not dialogue.formatted and text is not None:
            view.push(text.rpartition("\n")[2], "answer")

        def resumed(seconds: float) -> None:
            stream.leave_out(seconds)
            view.begin_anew()

        try:
            with suspendable(resumed):
                for piece in stream:
                    bar.close()
                    view.push(piece.text, piece.channel)
        except KeyboardInterrupt:
            stream.close()
        finally:
            bar.close()
            view.finish()
            dialogue.ended(stream)
    completion = stream.completion
    state.count(completion)
    if not quiet:
        _note(closing_line(completion, state.limit()))
    if completion.limit_reached == "context":
        _note("the oldest turns are dropped for your next message" if settings["trim"] else OFFERS)
    print()


def _greeting(state: ChatState) -> str:
    if state.dialogue.formatted:
        what = "Type a message. Alt-Enter begins a new line, Ctrl-C stops an answer, /help says more."
    else:
        what = (
            "Without a chat template there are no answers: what you type is completed, as one growing text.\n"
            "Alt-Enter begins a new line, Ctrl-C stops it, /clear begins anew, /help says more."
        )
    line = filled(model_line(state.model), sys.stdout)
    end = len(state.model.package.name)
    title, figures = styled(line[:end], BOLD, sys.stdout), styled(line[end:], DIM, sys.stdout)
    return f"{title}{figures}\n{styled(filled(what, sys.stdout), DIM, sys.stdout)}\n"


def _note(text: str) -> None:
    """Say something about the chat, which is no part of it."""
    say(text, DIM)
