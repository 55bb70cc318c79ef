"""How a chat template is told whether to think, and how hard.

There is no one name for it. Most templates read `enable_thinking`, others `thinking`, a mode, a budget or an effort; a
few look for a command in the instructions. So what a template reads decides what it is given.

Source: the chat templates of the families named below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeAlias

from nearlight.errors import RequestError

Think: TypeAlias = bool | str | None
"""Whether to think: a level of LEVELS says how hard; None leaves it to the template."""

LEVELS = ("low", "medium", "high", "max")

_SWITCHES: Mapping[str, tuple[Any, Any]] = {
    "enable_thinking": (True, False),
    "thinking": (True, False),  # DeepSeek, Granite 3.3, Kimi K3
    "reasoning": (True, False),  # Cohere
    "thinking_mode": ("enabled", "disabled"),  # MiniMax M3
    "thinking_budget": (-1, 0),  # Seed-OSS
}
"""Variables by which templates switch, each with what it is when on and off."""

_EFFORTS = ("reasoning_effort", "thinking_effort")
_COMMANDS = ("/think", "/no_think")  # Nemotron Nano 2
_LEAST = ("no_think", "none", "minimal", "low")


def knows_levels(reads: Set[str]) -> bool:
    """Whether a template that reads these names can be told how hard to think."""
    return not reads.isdisjoint(_EFFORTS)


def variables_of(think: Think, reads: Set[str], source: str) -> dict[str, Any]:
    """Return the variables that tell a template which reads these names.

    Raises: RequestError for a level where the template knows none.
    """
    if think is None:
        return {}
    switches = {name: values[not think] for name, values in _SWITCHES.items() if name in reads}
    efforts = [name for name in _EFFORTS if name in reads]
    if isinstance(think, str):
        if not efforts:
            raise RequestError("the chat template knows no levels of thinking", advice="switch it on or off")
        return switches | dict.fromkeys(efforts, think)
    level = None if switches else _level_for(think, source)
    return switches if level is None else switches | dict.fromkeys(efforts, level)


def _level_for(think: bool, source: str) -> str | None:
    """Choose a level for a template that knows nothing else: the least it names, or high if it names that.

    Some have a level that is none, and Hunyuan 3 has it as default; gpt-oss can only think less.
    """
    named = [level for level in (("high",) if think else _LEAST) if f'"{level}"' in source or f"'{level}'" in source]
    return named[0] if named else None if think else "low"


def with_command(
    messages: Sequence[Mapping[str, Any]], think: Think, reads: Set[str], source: str
) -> Sequence[Mapping[str, Any]]:
    """Return messages whose instructions have the command that the template looks for, if it does nothing else."""
    if think is None or not all(command in source for command in _COMMANDS) or not reads.isdisjoint(_SWITCHES):
        return messages
    command = _COMMANDS[not think]
    first = messages[0]
    if first.get("role") != "system":
        return [{"role": "system", "content": command}, *messages]
    content = first.get("content")
    told = f"{content} {command}" if isinstance(content, str) else [*(content or []), {"type": "text", "text": command}]
    return [{**first, "content": told}, *messages[1:]]
