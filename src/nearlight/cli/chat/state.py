"""A chat under way: what its commands read and change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearlight.cli.chat.dialogue import open_dialogue
from nearlight.cli.chat.settings import Settings

if TYPE_CHECKING:
    from nearlight.engine.completion import Completion
    from nearlight.engine.language_model import LanguageModel
    from nearlight.limits.run import RunLimit


@dataclass(frozen=True)
class Opener:
    """How models are found and loaded: with the flags of the command line. `completes` takes text, whatever chats."""

    find: Callable[[str | None], Path]
    load: Callable[[Path, str], LanguageModel]
    completes: bool = False


class ChatState:
    """The model, loaded here; what was said to it, and figures of its answers.

    `name` is what brings the model back: a path or a hub id. `typed` is put into the next prompt, to be changed;
    `regenerates` asks for another answer. `ask` puts a question that is answered with yes or no.
    """

    def __init__(self, opener: Opener, path: Path, name: str, settings: Settings, system: str | None = None) -> None:
        self.opener = opener
        self.settings = settings
        self.ask: Callable[[str], bool] = lambda question: False
        self.left = self.regenerates = False
        self.typed = ""
        self.file: Path | None = None
        self._in_file: dict[str, Any] | None = None
        self.take(opener.load(path, name), path, name, system=system)

    def take(
        self,
        model: LanguageModel,
        path: Path,
        name: str,
        *,
        system: str | None = None,
        said: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on with this model, and with what was `said` before, as `Dialogue.saved` gives it."""
        dialogue = open_dialogue(model, system, self.settings, completes=self.opener.completes)
        if said is not None:
            dialogue.restore(said)
        self.model, self.path, self.name, self.dialogue = model, path, name, dialogue
        self.n_answers = self.n_tokens = self.decode_steps = 0
        self.decode_s = 0.0
        self.last: Completion | None = None

    def let_go(self) -> None:
        """Drop the model and what refers to it; `take` must follow."""
        del self.model, self.dialogue

    def count(self, completion: Completion) -> None:
        """Add an answer to the figures."""
        self.last = completion
        self.n_answers += 1
        self.n_tokens += len(completion.token_ids)
        self.decode_s += completion.timing.decode_s
        self.decode_steps += completion.timing.decode_steps

    def limit(self) -> RunLimit:
        """Return this machine's limit, in the state it was in for the last answer."""
        return self.model.limits(after=self.last)

    def kept_in(self, path: Path) -> None:
        """Take note that the chat as it is now is in a file."""
        self.file, self._in_file = path, self.dialogue.saved()

    @property
    def unsaved(self) -> bool:
        """Whether something was said that no file has."""
        return self.dialogue.n_turns > 0 and self.dialogue.saved() != self._in_file
