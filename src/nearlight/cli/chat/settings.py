"""What can be set in a chat: how tokens are chosen, when an answer ends, how it is shown.

A value is the model's own until a flag of the command line gave another, and that until `/set` gives one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from nearlight.cli.arguments import unescaped
from nearlight.decode.policy import SamplingPolicy
from nearlight.errors import RequestError
from nearlight.quantities import read_count
from nearlight.text.switches import LEVELS

_KINDS: dict[str, Callable[[str], float]] = {
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "repetition_penalty": float,
    "presence_penalty": float,
    "frequency_penalty": float,
    "seed": int,
}
"""The fields of a policy that a person may want to change on the way."""

_OF_THE_CHAT = {"think": None, "markdown": True, "trim": False}
"""What the chat itself heeds, and the stream is not told; each with what holds where nobody said anything."""

_UNSET = {"seed": "random", "max_tokens": "none", "thinking_budget": "none", "stop": "none", "think": "auto"}
_ALIASES = {"temp": "temperature", "repeat_penalty": "repetition_penalty"}


class Settings:
    """The settings of one chat.

    `flags` are what the command line gave, and `defaults` what holds without, under the names of `SETTINGS`.
    """

    def __init__(self, flags: Mapping[str, Any] | None = None) -> None:
        self.defaults: Mapping[str, Any] = {}
        self._flags = dict(flags or {})
        self._here: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return what was given last, None where nothing was."""
        return (_OF_THE_CHAT | self._given())[name] if name in _OF_THE_CHAT else self._given().get(name)

    def options(self) -> dict[str, Any]:
        """Return what was given as keyword arguments of `LanguageModel.stream`."""
        return {name: value for name, value in self._given().items() if name not in _OF_THE_CHAT}

    def policy(self, generation: Mapping[str, Any]) -> SamplingPolicy:
        """Return how tokens are chosen with a package's generation defaults."""
        given = self._given()
        return SamplingPolicy.from_generation(generation, **{name: given[name] for name in _KINDS if name in given})

    def set(self, name: str, text: str) -> str:
        """Set one for this chat, as typed; return its name. Raises: RequestError saying what it takes."""
        name = known(name)
        self._here[name] = SETTINGS[name](text)
        return name

    def unset(self, name: str) -> str:
        """Go back to what the command line or the model says; return the setting's name."""
        name = known(name)
        self._here.pop(name, None)
        return name

    def line(self, name: str, generation: Mapping[str, Any]) -> str:
        """Tell a setting's value, and who gave it, as `/set` does."""
        value = getattr(self.policy(generation), name) if name in _KINDS else self[name]
        return f"{name:<19} {_value_text(name, value):<7} {self._origin(name, value, generation)}"

    def _given(self) -> dict[str, Any]:
        return {**self.defaults, **self._flags, **self._here}

    def _origin(self, name: str, value: Any, generation: Mapping[str, Any]) -> str:
        if name in self._here:
            return "set here"
        if name in self._flags:
            return "flag"
        own = name in _KINDS and generation.get(name) is not None and generation[name] == value
        return "model's own" if own else "default"


def known(name: str) -> str:
    """Return a setting's name, however it is spelled. Raises: RequestError suggesting the nearest."""
    plain = name.lower().lstrip("-").replace("-", "_")
    plain = _ALIASES.get(plain, plain)
    if plain not in SETTINGS:
        near = get_close_matches(plain, SETTINGS, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]}?" if near else "/set lists them"
        raise RequestError(f"no setting is called {name[:40]!r}", advice=advice)
    return plain


def _of_policy(name: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value: Any = _KINDS[name](text)
        except ValueError:
            value = text[:40]
        return getattr(SamplingPolicy(**{name: value}), name)  # which complains of what it does not take

    return read


def _count(name: str, least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = read_count(text, name)
        if value < least:
            raise RequestError(name, expected=f"a whole number of at least {least}", found=repr(text[:40]))
        return value

    return read


def _switch(name: str) -> Callable[[str], bool]:
    def read(text: str) -> bool:
        if text.lower() not in ("on", "off"):
            raise RequestError(name, expected="on or off", found=repr(text[:40]))
        return text.lower() == "on"

    return read


def _think(text: str) -> bool | str:
    if text.lower() in LEVELS:
        return text.lower()
    if text.lower() not in ("on", "off"):
        expected = ", ".join(("on", "off", *LEVELS[:-1])) + " or " + LEVELS[-1]
        raise RequestError("think", expected=expected, found=repr(text[:40]))
    return text.lower() == "on"


def _stop(text: str) -> list[str]:
    r"""Read one text to stop before: with \n for a line end, and quotes around it where spaces count."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if not text:
        raise RequestError("stop", expected="a text", found="nothing")
    return [unescaped(text)]


SETTINGS: dict[str, Callable[[str], Any]] = {
    **{name: _of_policy(name) for name in _KINDS},
    "max_tokens": _count("max_tokens", 1),
    "stop": _stop,
    "thinking_budget": _count("thinking_budget", 0),
    **{name: _switch(name) for name in _OF_THE_CHAT},
    "think": _think,
}
"""Each reads what was typed after its name."""


def _value_text(name: str, value: Any) -> str:
    if value is None or value == []:
        return _UNSET[name]
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(repr, value)) if isinstance(value, list) else str(value)
