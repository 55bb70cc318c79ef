"""An answer piece by piece, as `LanguageModel.stream` returns it.

Iterate it for pieces of text; its `completion` is filled as the answer grows and stays valid however the iteration
ends, so a person who presses Ctrl-C keeps what there is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from inspect import GEN_RUNNING, getgeneratorstate

from nearlight.engine.completion import Completion
from nearlight.engine.generation import Generation
from nearlight.engine.scheduler import Scheduler
from nearlight.text.streaming import Piece


class Stream:
    """Pieces of an answer while it is made. Iterate once."""

    def __init__(self, scheduler: Scheduler, generation: Generation) -> None:
        self._scheduler = scheduler
        self._generation = generation
        self._pieces = self._run()

    def __iter__(self) -> Iterator[Piece]:
        return self._pieces

    @property
    def completion(self) -> Completion:
        """What there is of the answer, and how long it took."""
        return self._generation.completion

    def close(self) -> None:
        """Stop the answer where it is; nothing happens if it has ended.

        Another thread than the one that iterates may do it, also during a step: the iteration then ends soon after.
        """
        self._generation.cancelled = True
        try:
            self._pieces.close()
        except ValueError:
            if getgeneratorstate(self._pieces) != GEN_RUNNING:  # by another thread, whose step ends by itself
                raise
        else:
            self._scheduler.remove(self._generation)  # nothing else ends one whose pieces were never asked for

    def leave_out(self, seconds: float) -> None:
        """Take a pause, in which the whole process was stopped, out of what is measured."""
        self._generation.leave_out(seconds)

    def finish(self) -> Completion:
        """Run to the end and return the completion."""
        for _ in self._pieces:
            pass
        return self.completion

    def _run(self) -> Generator[Piece, None, None]:
        generation = self._generation
        try:
            while not generation.ended:
                self._scheduler.step()
                yield from generation.take()
            if generation.error:
                raise generation.error
        finally:
            self._scheduler.remove(generation)
