"""Answers that are made together: each as if it were alone, whatever happens to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import nearlight
from nearlight.decode.policy import SamplingPolicy
from nearlight.engine.generation import Generation, Request
from nearlight.engine.scheduler import Scheduler
from nearlight.errors import NearlightError, RequestError
from tests.models.random_models import CONFIGS, write_model

PROMPTS = [[7, 3, 90, 41, 5], [8, 8, 1], list(range(20, 50))]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen3")
    write_model(path, CONFIGS["qwen3"])
    return path


@pytest.fixture
def model(directory: Path) -> nearlight.LanguageModel:
    loaded = nearlight.load(directory, context=64)
    loaded.stop_ids = frozenset()
    return loaded


def generation(model: nearlight.LanguageModel, prompt: list[int], **options: Any) -> Generation:
    on_end: Callable[..., None] | None = options.pop("on_end", None)
    policy = options.pop("policy", SamplingPolicy(temperature=0))
    request = Request(prompt, policy, frozenset(), n_tokens=103, **{"max_tokens": 10, **options})
    return Generation(model.engine.open(), request, on_end=on_end)


def run(scheduler: Scheduler) -> int:
    n_steps = 0
    while not scheduler.idle:
        scheduler.step()
        n_steps += 1
    return n_steps


def alone(model: nearlight.LanguageModel, prompt: list[int]) -> list[int]:
    return model.generate(prompt, max_tokens=10, temperature=0).token_ids


def test_answers_made_together_are_those_made_alone(model: nearlight.LanguageModel) -> None:
    scheduler, together = Scheduler(model.engine), [generation(model, prompt) for prompt in PROMPTS]
    for each in together:
        scheduler.add(each)
    assert run(scheduler) == 10
    assert [each.completion.token_ids for each in together] == [alone(model, prompt) for prompt in PROMPTS]
    assert [each.completion.finish_reason for each in together] == ["length"] * 3
    assert [each.completion.timing.decode_steps for each in together] == [9] * 3


def test_an_answer_joins_others_half_way(model: nearlight.LanguageModel) -> None:
    scheduler, early, late = Scheduler(model.engine), generation(model, PROMPTS[0]), generation(model, PROMPTS[2])
    scheduler.add(early)
    for _ in range(4):
        scheduler.step()
    scheduler.add(late)
    run(scheduler)
    assert (early.completion.token_ids, late.completion.token_ids) == (
        alone(model, PROMPTS[0]),
        alone(model, PROMPTS[2]),
    )


def test_a_cancelled_answer_ends_and_the_others_go_on(model: nearlight.LanguageModel) -> None:
    ended: list[str] = []
    first, second = (
        generation(model, prompt, on_end=lambda completion: ended.append(completion.finish_reason))
        for prompt in PROMPTS[:2]
    )
    scheduler = Scheduler(model.engine)
    scheduler.add(first)
    scheduler.add(second)
    for _ in range(3):
        scheduler.step()
    first.cancelled, computed = True, first.sequence.computed
    run(scheduler)
    assert first.sequence.computed == computed
    assert ended == ["cancelled", "length"]
    assert first.completion.token_ids == alone(model, PROMPTS[0])[:3]
    assert second.completion.token_ids == alone(model, PROMPTS[1])


def test_an_answer_that_cannot_go_on_keeps_its_error(model: nearlight.LanguageModel) -> None:
    """Its policy excludes every token."""
    nothing = SamplingPolicy(temperature=0, logit_bias=dict.fromkeys(range(103), float("-inf")))
    broken, whole = generation(model, PROMPTS[0], policy=nothing), generation(model, PROMPTS[1])
    scheduler = Scheduler(model.engine)
    scheduler.add(broken)
    scheduler.add(whole)
    run(scheduler)
    assert isinstance(broken.error, NearlightError)
    assert "exclude every token" in str(broken.error)
    assert (whole.error, whole.completion.token_ids) == (None, alone(model, PROMPTS[1]))


def test_a_step_that_is_interrupted_is_made_again(model: nearlight.LanguageModel) -> None:
    scheduler, each = Scheduler(model.engine), generation(model, PROMPTS[0])
    scheduler.add(each)
    scheduler.step()
    program = model.engine._program

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    model.engine._program = interrupted  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        scheduler.step()
    model.engine._program = program
    run(scheduler)
    assert each.completion.token_ids == alone(model, PROMPTS[0])


def test_a_prompt_that_does_not_fit_is_refused_when_it_comes(model: nearlight.LanguageModel) -> None:
    scheduler = Scheduler(model.engine)
    with pytest.raises(RequestError, match="at most 64 tokens, found 65"):
        scheduler.add(generation(model, [1] * 65))
    assert scheduler.idle
