"""The commands of a chat: a line that begins with a slash and a word."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nearlight.cli.chat import file, model
from nearlight.cli.chat.context import beginning, dropped_text
from nearlight.cli.chat.settings import SETTINGS, known
from nearlight.cli.chat.state import ChatState
from nearlight.cli.summary import closing_line
from nearlight.errors import RequestError
from nearlight.quantities import bytes_text, significant
from nearlight.terminal.wrapping import say
from nearlight.text.switches import LEVELS, Think

_CALL = re.compile(r"(/[A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)
_USAGE_WIDTH = 16


@dataclass(frozen=True)
class Command:
    """`run` takes what follows the command's name and returns what to print. Tab completes `arguments`, or paths."""

    usage: str
    summary: str
    run: Callable[[ChatState, str], str]
    arguments: Sequence[str] = ()
    takes_path: bool = False


def call(chat: ChatState, line: str) -> bool:
    """Run a line that is a command and print its result; return False for a line that is a message.

    Raises: RequestError for an unknown command, or one that cannot be done.
    """
    match = _CALL.fullmatch(line.strip())
    if match is None or not line.startswith("/"):
        return False
    name = _ALIASES.get(match[1].lower(), match[1].lower())
    if name not in COMMANDS:
        near = get_close_matches(name, [*COMMANDS, *_ALIASES], n=1)
        advice = f"did you mean {near[0]}? /help lists all" if near else "/help lists them"
        raise RequestError(f"unknown command {name[:40]}", advice=f"{advice}; a space in front makes it a message")
    result = COMMANDS[name].run(chat, (match[2] or "").strip())
    if result:
        say(result, stream=sys.stdout)
    return True


def _help(chat: ChatState, argument: str) -> str:
    groups = {
        title: [(COMMANDS[name].usage, COMMANDS[name].summary) for name in names] for title, names in _GROUPS.items()
    }
    return "\n\n".join(_help_on(title, rows) for title, rows in (groups | {"Keys": _KEYS}).items())


def _help_on(title: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = (f"  {usage:<{_USAGE_WIDTH}} {summary}" for usage, summary in rows)
    return "\n".join((title, *lines))


def _system(chat: ChatState, argument: str) -> str:
    if argument:
        chat.dialogue.system = argument
        return "instructions set; they hold from the next message on"
    return chat.dialogue.system or "no instructions are set; /system TEXT sets them"


def _regenerate(chat: ChatState, argument: str) -> str:
    chat.regenerates = True
    return ""


def _undo(chat: ChatState, argument: str) -> str:
    chat.typed = chat.dialogue.undo()
    return f'took back "{beginning(chat.typed)}"'


def _trim(chat: ChatState, argument: str) -> str:
    if not (argument or "1").isdecimal() or int(argument or "1") < 1:
        raise RequestError("how many turns", expected="a whole number of at least 1", found=repr(argument[:40]))
    dropped = chat.dialogue.trim(int(argument or "1"))
    if not dropped:
        raise RequestError("there is nothing to drop")
    return f"{dropped_text(dropped)}; {chat.dialogue.n_turns} left"


def _clear(chat: ChatState, argument: str) -> str:
    chat.dialogue.clear()
    return "cleared" + ("; the instructions stay" if chat.dialogue.system else "")


def _set(chat: ChatState, argument: str) -> str:
    name, _, value = argument.partition(" ")
    if name and value.strip() == "default":
        return _unset(chat, name)
    if name and value.strip():
        name = known(name)
        if name == "think":
            _require_switch(chat, SETTINGS[name](value.strip()))
        chat.settings.set(name, value.strip())
    names = [known(name)] if name else [each for each in SETTINGS if each != "think" or chat.dialogue.can_think()]
    return "\n".join(chat.settings.line(each, chat.model.package.generation) for each in names)


def _unset(chat: ChatState, argument: str) -> str:
    if not argument:
        raise RequestError("no setting named", expected="/unset NAME", advice="/set lists them")
    return _set(chat, chat.settings.unset(argument))


def _think(chat: ChatState, argument: str) -> str:
    _require_switch(chat)
    return _set(chat, f"think {argument}")


def _require_switch(chat: ChatState, think: Think = True) -> None:
    if not chat.dialogue.can_think(think):
        name = chat.model.package.name
        what = "levels of" if isinstance(think, str) and chat.dialogue.can_think() else "switch for"
        advice = "/set thinking_budget N bounds what it thinks" if chat.dialogue.formatted else None
        raise RequestError(f"{name} has no {what} thinking", advice=advice)


def _stats(chat: ChatState, argument: str) -> str:
    last, limit = chat.last, chat.limit()
    whose = "this processor's cache" if limit.reads_from(0) == "cache" else "memory"
    read = f"{bytes_text(limit.bytes_per_s(0))}/s from {whose}"
    here = f"limit    {significant(limit.tokens_per_s(0))} tok/s here ({read})"
    if last is None:
        return f"no answer yet\n{here}"
    used = last.prompt_tokens + len(last.token_ids)
    kv_bytes = limit.costs.kv_bytes(used)
    speed = f", decode {significant(chat.decode_steps / chat.decode_s)} tok/s" if chat.decode_s else ""
    reused = f"{last.cached_tokens} of the last prompt's {last.prompt_tokens} tokens were in it already"
    lines = (
        f"last     {closing_line(last, limit)}",
        f"chat     {chat.n_answers} answer{'s' if chat.n_answers > 1 else ''}, {chat.n_tokens} tokens{speed}",
        f"context  {used} of {chat.model.context} tokens, {bytes_text(kv_bytes)} of KV cache; {reused}",
        here,
    )
    return "\n".join(lines)


def _exit(chat: ChatState, argument: str) -> str:
    chat.left = True
    return ""


COMMANDS = {
    "/regenerate": Command("/regenerate", "gives another answer to the last message (or /retry)", _regenerate),
    "/undo": Command("/undo", "takes the last turn back, for you to change", _undo),
    "/trim": Command("/trim [N]", "drops the oldest turn, or N of them", _trim),
    "/clear": Command("/clear", "forgets the chat so far", _clear),
    "/system": Command("/system [TEXT]", "shows or sets the instructions", _system),
    "/save": Command("/save FILE", "writes the chat to a file, as JSON", file.save, takes_path=True),
    "/load": Command("/load FILE", "takes up a saved chat", file.load, takes_path=True),
    "/set": Command("/set [NAME X]", "shows or changes settings", _set, arguments=tuple(SETTINGS)),
    "/unset": Command("/unset NAME", "takes a setting back", _unset, arguments=tuple(SETTINGS)),
    "/think": Command("/think [on|off|LEVEL]", "switches thinking", _think, arguments=("on", "off", *LEVELS)),
    "/model": Command("/model [MODEL]", "shows the model, or loads another", model.change_model, takes_path=True),
    "/stats": Command("/stats", "shows tokens, speeds and the KV cache", _stats),
    "/help": Command("/help", "shows this", _help),
    "/exit": Command("/exit", "leaves, as Ctrl-D does", _exit),
}
_GROUPS = {
    "What was said": ("/regenerate", "/undo", "/trim", "/clear", "/system", "/save", "/load"),
    "How it is answered": ("/set", "/unset", "/think", "/model"),
    "Besides": ("/stats", "/help", "/exit"),
}
_KEYS = (
    ("Enter", "sends"),
    ("Alt-Enter", "begins a new line; pasted lines stay together"),
    ("Up, Ctrl-R", "bring earlier messages back"),
    ("Tab", "completes commands, settings and paths"),
    ("Ctrl-C", "stops the answer, which stays in the chat as far as it came"),
    ("Ctrl-Z", "suspends; fg goes on"),
    ("Ctrl-D", "leaves"),
)
_ALIASES = {"/retry": "/regenerate", "/quit": "/exit", "/bye": "/exit", "/?": "/help"}
