"""The commands of a chat: a line that begins with a slash and a word."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.cli.dialogue import Dialogue
from nearlight.cli.report import closing_line, limit_of
from nearlight.cli.units import bytes_text, significant
from nearlight.cli.wrapping import say
from nearlight.errors import RequestError

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel
    from nearlight.limits.run import RunLimit

_CALL = re.compile(r"(/[A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)


@dataclass
class ChatState:
    """A chat under way: what commands read and change. `markdown`: answers are shown formatted where they may be."""

    model: LanguageModel
    dialogue: Dialogue
    markdown: bool = True
    left: bool = False
    n_answers: int = 0
    n_tokens: int = 0
    decode_s: float = 0.0
    decode_steps: int = 0
    last: Completion | None = None

    def count(self, completion: Completion) -> None:
        """Add an answer to the figures."""
        self.last = completion
        self.n_answers += 1
        self.n_tokens += len(completion.token_ids)
        self.decode_s += completion.timing.decode_s
        self.decode_steps += completion.timing.decode_steps

    def limit(self) -> RunLimit:
        """Return this machine's limit, in the state it was in for the last answer."""
        return limit_of(self.model, self.last) if self.last else self.model.limits()


@dataclass(frozen=True)
class Command:
    usage: str
    summary: str
    run: Callable[[ChatState, str], str]
    """Takes what follows the command's name; returns what to print."""


def call(chat: ChatState, line: str) -> bool:
    """Run a line that is a command and print its result; return False for a line that is a message.

    Raises: RequestError for an unknown command, or one that cannot be done.
    """
    match = _CALL.fullmatch(line.strip())
    if match is None or not line.startswith("/"):
        return False
    name = _ALIASES.get(match[1].lower(), match[1].lower())
    if name not in COMMANDS:
        raise RequestError(f"unknown command {name}", advice="/help lists them; a space in front makes it a message")
    result = COMMANDS[name].run(chat, (match[2] or "").strip())
    if result:
        say(result, stream=sys.stdout)
    return True


def _help(chat: ChatState, argument: str) -> str:
    width = max(len(command.usage) for command in COMMANDS.values())
    lines = [f"{command.usage:<{width}}  {command.summary}" for command in COMMANDS.values()]
    keys = (
        ("Enter", "sends"),
        ("Alt-Enter", "begins a new line; pasted lines stay together"),
        ("Up, Ctrl-R", "bring earlier messages back"),
        ("Ctrl-C", "stops the answer, which stays in the chat as far as it came"),
        ("Ctrl-D", "leaves"),
    )
    return "\n".join((*lines, "", *(f"{key:<{width}}  {text}" for key, text in keys)))


def _system(chat: ChatState, argument: str) -> str:
    if argument:
        chat.dialogue.system = argument
        return "instructions set; they hold from the next message on"
    return chat.dialogue.system or "no instructions are set; /system TEXT sets them"


def _save(chat: ChatState, argument: str) -> str:
    path = _path(argument, "/save FILE")
    content = {"model": chat.model.package.name, **chat.dialogue.saved()}
    if path.exists() and not _is_saved_chat(path):
        raise RequestError("is there already, and is no saved chat", where=path, advice="choose another name")
    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot be written ({error.strerror})", where=path) from None
    return f"saved to {path}"


def _load(chat: ChatState, argument: str) -> str:
    return f"loaded {chat.dialogue.restore(_saved_chat(_path(argument, '/load FILE')))}"


def _saved_chat(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", where=path) from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or "model" not in content:
        raise RequestError("not a saved chat", where=path, expected="JSON as /save writes it")
    return content


def _is_saved_chat(path: Path) -> bool:
    try:
        return bool(_saved_chat(path))
    except RequestError:
        return False


def _stats(chat: ChatState, argument: str) -> str:
    last, limit = chat.last, chat.limit()
    lines = [f"limit    {significant(limit.tokens_per_s(0))} tok/s here ({bytes_text(limit.read_bytes_per_s)}/s read)"]
    if last is None:
        return "\n".join(("no answer yet", *lines))
    used = last.prompt_tokens + len(last.token_ids)
    cache_bytes = limit.costs.kv_bytes(used)
    speed = f", decode {significant(chat.decode_steps / chat.decode_s)} tok/s" if chat.decode_s else ""
    reused = f"{last.cached_tokens} of the last prompt's {last.prompt_tokens} tokens were in the cache already"
    return "\n".join(
        (
            f"last     {closing_line(last, limit)}",
            f"chat     {chat.n_answers} answer{'s' if chat.n_answers > 1 else ''}, {chat.n_tokens} tokens{speed}",
            f"context  {used} of {chat.model.context} tokens, {bytes_text(cache_bytes)} of cache; {reused}",
            *lines,
        )
    )


def _clear(chat: ChatState, argument: str) -> str:
    chat.dialogue.clear()
    return "cleared" + ("; the instructions stay" if chat.dialogue.system else "")


def _exit(chat: ChatState, argument: str) -> str:
    chat.left = True
    return ""


def _path(argument: str, usage: str) -> Path:
    if not argument:
        raise RequestError("no file named", expected=usage)
    return Path(argument).expanduser()


COMMANDS = {
    "/help": Command("/help", "shows this", _help),
    "/system": Command("/system [TEXT]", "shows or sets the instructions the chat begins with", _system),
    "/save": Command("/save FILE", "writes the chat to a file, as JSON", _save),
    "/load": Command("/load FILE", "takes up a saved chat", _load),
    "/stats": Command("/stats", "shows tokens, speeds, cache, and the share of this machine's limit", _stats),
    "/clear": Command("/clear", "forgets the chat so far", _clear),
    "/exit": Command("/exit", "leaves, as Ctrl-D does", _exit),
}
_ALIASES = {"/quit": "/exit", "/bye": "/exit", "/?": "/help"}
