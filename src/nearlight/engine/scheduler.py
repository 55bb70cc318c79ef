"""Computes the answers under way together, step by step, for whoever drives it.

A stream that is iterated pulls steps until it has something to show; a server's thread or a batch run pulls them as
long as there are answers. Each step has rows of all of them, as `plan_step` says.
"""

from __future__ import annotations

from nearlight.engine.engine import Engine
from nearlight.engine.generation import Generation


class _AllCancelled(Exception):  # noqa: N818  (a wish, not a mistake)
    """Raised inside a step when nobody waits for it any more."""


class Scheduler:
    """Answers under way on one engine. It holds no tensors. Not to be used by two threads at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._active: list[Generation] = []

    @property
    def idle(self) -> bool:
        return not self._active

    def add(self, generation: Generation) -> None:
        """Take an answer on; what its sequence holds of the prompt already is not computed again.

        Raises: RequestError for a prompt that is longer than the context, or of other ids than the model has.
        """
        engine = self.engine
        request = generation.request
        engine.replace(generation.sequence, request.prompt_ids, checkpoint=request.checkpoint)
        generation.begin(engine.context, engine.model.vocab_size)
        self._active.append(generation)

    def remove(self, generation: Generation) -> None:
        """End an answer where it is; nothing happens if it has ended."""
        self._active = [other for other in self._active if other is not generation]
        generation.end()

    def step(self) -> None:
        """Compute one step: every answer whose prompt is there chooses its next token, or ends.

        One that cannot go on keeps its error, and the others do go on. Raises: what ends the step itself (Ctrl-C, an
        error of the kernels), which leaves all as it was before.
        """
        for generation in [each for each in self._active if each.cancelled]:
            self.remove(generation)
        try:
            logits = self.engine.step([each.sequence for each in self._active], watch=self._watch)
        except _AllCancelled:
            for generation in list(self._active):
                self.remove(generation)
            return
        for generation in self._active:
            rows = logits.get(generation.sequence)
            try:
                token = generation.stepped(None if rows is None else rows[-1])
                if token is not None:
                    self.engine.extend(generation.sequence, [token])
            except Exception as error:
                generation.fail(error)
        for generation in [each for each in self._active if each.ended or each.cancelled]:
            self.remove(generation)

    def _watch(self) -> None:
        if all(generation.cancelled for generation in self._active):
            raise _AllCancelled
