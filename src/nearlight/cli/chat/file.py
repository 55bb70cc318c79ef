"""Chats in files: /save and /load.

A file is JSON: `messages` (or `text`, of a model that completes), the `model` by its name, `source` which brings it
back, and `saved`, the time.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nearlight.cli.chat.state import ChatState
from nearlight.errors import RequestError
from nearlight.quantities import number_of
from nearlight.terminal.tty import printable


def save(chat: ChatState, argument: str) -> str:
    """Write the chat to a file; ask before another chat there is replaced."""
    path = _path(argument, "/save FILE")
    if path.exists() and path != chat.file:
        try:
            there = _read(path)
        except RequestError:
            raise RequestError(
                "is there already, and is no saved chat", where=path, advice="choose another name"
            ) from None
        if not chat.ask(f"{path} holds {_described(there)}; replace it?"):
            return "not saved"
    content = {
        "model": chat.model.package.name,
        "source": chat.name,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        **chat.dialogue.saved(),
    }
    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot be written ({error.strerror})", where=path) from None
    chat.kept_in(path)
    return f"saved to {path}"


def load(chat: ChatState, argument: str) -> str:
    """Take up a saved chat, saying what it is; ask before an unsaved one is lost."""
    path = _path(argument, "/load FILE")
    there = _read(path)
    made_with = _model_of(there)
    other = made_with != chat.model.package.name
    source = there.get("source") if other else None
    back = f"/model {printable(source)} loads {made_with}" if isinstance(source, str) else ""
    if ("messages" in there) != chat.dialogue.formatted:
        kinds = ("a text to complete", "a chat")
        found, here = kinds["messages" in there], kinds[chat.dialogue.formatted]
        raise RequestError(f"holds {found} made with {made_with}, and this is {here}", where=path, advice=back or None)
    asks = chat.unsaved
    if asks and not chat.ask(f"{_described(there)}; replace the chat at hand, which is not saved?"):
        return "not loaded"
    chat.dialogue.restore(there)
    chat.kept_in(path)
    loaded = "loaded" if asks else f"loaded {_described(there)}"
    here = f"it goes on with {chat.model.package.name}" + (f"; {back}" if back else "")
    return f"{loaded}\n{here}" if other else loaded


def _described(there: dict[str, Any]) -> str:
    messages = there.get("messages")
    if isinstance(messages, list):
        size = number_of(len(messages), "message")
    else:
        size = f"{len(str(there.get('text', '')))} characters"
    return f"a chat with {_model_of(there)}: {size}, saved {there['saved']}"


def _model_of(there: dict[str, Any]) -> str:
    return printable(str(there["model"]))[:80]


def _read(path: Path) -> dict[str, Any]:
    """Return a saved chat; `saved` is made a time as people read it, that of the file where it has none."""
    try:
        if path.exists() and not path.is_file():  # a device may have no end
            raise RequestError("is no file", where=path)
        content = json.loads(path.read_text(encoding="utf-8"))
        when = datetime.fromtimestamp(path.stat().st_mtime)
    except OSError as error:
        raise RequestError(f"cannot be read ({error.strerror})", where=path) from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "model" not in content or not {"messages", "text"} & content.keys():
        raise RequestError("not a saved chat", where=path, expected="JSON as /save writes it")
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        when = datetime.fromisoformat(content["saved"]).astimezone()
    return content | {"saved": when.strftime("%Y-%m-%d %H:%M")}


def _path(argument: str, usage: str) -> Path:
    if not argument:
        raise RequestError("no file named", expected=usage)
    return Path(argument).expanduser()
