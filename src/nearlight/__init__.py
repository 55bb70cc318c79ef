"""nearlight: a local LLM inference engine that knows its own speed limit.

    import nearlight

    model = nearlight.load("path/to/model")           # a directory, a .gguf file
    print(model.generate("def fibonacci(n):").text)
    for piece in model.stream("def fibonacci(n):"):
        print(piece.text, end="")

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Completion",
    "LanguageModel",
    "NearlightError",
    "PackageError",
    "RequestError",
    "ShapeError",
    "TextError",
    "UnsupportedError",
    "load",
]

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel, load
    from nearlight.errors import (
        NearlightError,
        PackageError,
        RequestError,
        ShapeError,
        TextError,
        UnsupportedError,
    )

_HOMES = {
    "Completion": "nearlight.engine.completion",
    "LanguageModel": "nearlight.engine.language_model",
    "load": "nearlight.engine.language_model",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nearlight' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "nearlight.errors")), name)
