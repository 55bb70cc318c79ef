"""/model: another model in a chat that goes on.

Both models are in memory for a moment where there is room; else the one at hand is let go first, and loaded again if
the other cannot be.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.cli.chat.context import OFFERS
from nearlight.cli.chat.state import ChatState
from nearlight.errors import NearlightError
from nearlight.quantities import bytes_text, number_of
from nearlight.terminal.tty import DIM, styled

if TYPE_CHECKING:
    from nearlight.engine.language_model import LanguageModel
    from nearlight.package.package import Package

_MARGIN_BYTES = 500_000_000
"""What a model takes besides its weights, generously: activations, tokenizer, the first stretch of the KV cache."""


def model_line(model: LanguageModel) -> str:
    """Name a loaded model, with its figures."""
    package = model.package
    size = bytes_text(_weight_bytes(package))
    return f"{package.name}  {package.model_type}, {size}, context {model.context} tokens, {model.n_threads} threads"


def change_model(chat: ChatState, argument: str) -> str:
    """Go on with another model; without an argument, name the one at hand."""
    if not argument:
        return f"{model_line(chat.model)}\n{chat.name}"
    from nearlight.package import open_package

    path = chat.opener.find(argument)
    package = open_package(path)
    chats = bool(package.chat_templates.get("default")) and not chat.opener.completes
    goes_on = chats == chat.dialogue.formatted
    if not goes_on and chat.unsaved:
        what = "chats" if chats else "only completes text"
        if not chat.ask(f"{package.name} {what}, so this cannot go on with it; leave it, unsaved?"):
            return f"{chat.model.package.name} stays"
    content = chat.dialogue.saved()
    name = name_of(argument, path)
    model = chat.opener.load(path, name) if _fits_beside(package) else _load_instead(chat, path, name, content)
    chat.take(model, path, name, said=content if goes_on else None)
    gc.collect()  # a model holds itself in circles, and Python is slow to look for those
    return "\n".join([model_line(model), *_how_it_goes_on(chat)])


def name_of(argument: str, path: Path) -> str:
    """Return what will bring a model back from any directory: a hub id as it is, a path in full."""
    return str(path.absolute()) if Path(argument).expanduser().exists() else argument


def _fits_beside(package: Package) -> bool:
    from nearlight.machine.memory import available_memory

    return _weight_bytes(package) + _MARGIN_BYTES <= available_memory().left


def _load_instead(chat: ChatState, path: Path, name: str, content: Mapping[str, Any]) -> LanguageModel:
    """Let the model at hand go and load another; should that fail, have the first one again."""
    note = f"too little memory for both models: {chat.model.package.name} is let go first"
    print(styled(note, DIM, sys.stderr), file=sys.stderr)
    chat.let_go()
    gc.collect()
    try:
        return chat.opener.load(path, name)
    except BaseException:
        chat.left = True  # without a model, should this one fail as well
        chat.take(chat.opener.load(chat.path, chat.name), chat.path, chat.name, said=content)
        chat.left = False
        raise


def _how_it_goes_on(chat: ChatState) -> list[str]:
    """Say what became of what was said, and whether this model can take it."""
    dialogue, context = chat.dialogue, chat.model.context
    if not dialogue.n_turns:
        return []
    n_turns = number_of(dialogue.n_turns, "turn")
    try:
        n_tokens = dialogue.prompt_tokens("?")
    except NearlightError as error:  # a template may refuse instructions, say
        return [f"the chat goes on with its {n_turns}, but: {error}"]
    if n_tokens > context:
        return [f"the chat's {n_turns} take {n_tokens} tokens, and the context holds {context}: {OFFERS}"]
    return [f"the chat goes on with its {n_turns}"]


def _weight_bytes(package: Package) -> int:
    return sum(tensor.n_bytes for tensor in package.tensors.values())
