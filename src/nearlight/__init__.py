"""nearlight: a local LLM inference engine that knows its own speed limit.

    import nearlight

    model = nearlight.load("pico")                    # or a directory, a .gguf file, a hub id
    print(model.generate("def fibonacci(n):", max_tokens=60).text)
    for piece in model.stream("def fibonacci(n):", max_tokens=60, temperature=0.5):
        print(piece.text, end="")

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Chat",
    "Completion",
    "LanguageModel",
    "NearlightError",
    "PackageError",
    "Piece",
    "RequestError",
    "ShapeError",
    "Stream",
    "TextError",
    "UnsupportedError",
    "load",
]

if TYPE_CHECKING:
    from nearlight.engine.chat import Chat
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel, load
    from nearlight.engine.stream import Stream
    from nearlight.errors import (
        NearlightError,
        PackageError,
        RequestError,
        ShapeError,
        TextError,
        UnsupportedError,
    )
    from nearlight.text.streaming import Piece

_HOMES = {
    "Chat": "nearlight.engine.chat",
    "Completion": "nearlight.engine.completion",
    "LanguageModel": "nearlight.engine.language_model",
    "Piece": "nearlight.text.streaming",
    "Stream": "nearlight.engine.stream",
    "load": "nearlight.engine.language_model",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nearlight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "nearlight.errors")), name)


def __dir__() -> list[str]:
    """Name what there is, so that help() and completion find it."""
    return sorted({*globals(), *__all__})
