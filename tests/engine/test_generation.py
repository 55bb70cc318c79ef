"""Streams: what ends them, what they report, and that they equal transformers' greedy path."""

from pathlib import Path
from typing import Any

import pytest
import torch

import nearlight
from nearlight.engine import generation
from nearlight.errors import RequestError
from tests.models.random_models import CONFIGS, write_model

PROMPT = [7, 3, 90, 41, 5]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen2")
    write_model(path, CONFIGS["qwen2"])
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> nearlight.LanguageModel:
    return nearlight.load(directory, kv="f32", context=64)


def test_greedy_path_equals_transformers(directory: Path, model: nearlight.LanguageModel) -> None:
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    wanted = theirs.generate(torch.tensor([PROMPT]), max_new_tokens=24, do_sample=False, eos_token_id=None)
    completion = model.generate(PROMPT, max_tokens=24, temperature=0)
    assert completion.token_ids == wanted[0, len(PROMPT) :].tolist()
    assert (completion.finish_reason, completion.limit_reached) == ("length", "max_tokens")


def test_a_stop_token_ends_the_answer(model: nearlight.LanguageModel) -> None:
    free = model.generate(PROMPT, max_tokens=12, temperature=0).token_ids
    model.stop_ids = frozenset({free[4]})
    try:
        stopped = model.generate(PROMPT, max_tokens=12, temperature=0)
    finally:
        model.stop_ids = frozenset({2})
    assert (stopped.finish_reason, stopped.limit_reached) == ("stop", None)
    assert stopped.token_ids == free[: free.index(free[4]) + 1]


def test_the_context_ends_the_answer(directory: Path) -> None:
    completion = nearlight.load(directory, context=9).generate(PROMPT, temperature=0)
    assert (completion.finish_reason, completion.limit_reached) == ("length", "context")
    assert len(PROMPT) + len(completion.token_ids) == 9 + 1  # the last token is never computed


def test_closing_early_is_cancelled_and_keeps_what_there_is(model: nearlight.LanguageModel) -> None:
    stream = model.stream(PROMPT, max_tokens=50, temperature=0)
    model.engine.step([])  # another step in between does no harm
    stream.close()
    assert stream.completion.finish_reason == "cancelled"


def test_a_pause_is_left_out_of_what_is_measured(
    model: nearlight.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step takes a second, in the midst of which the process is stopped for a hundred."""
    now, step = 0.0, model.engine.step

    def stopped_step(*arguments: Any, **options: Any) -> Any:
        nonlocal now
        now += 1 + 100
        stream.leave_out(100)
        return step(*arguments, **options)

    monkeypatch.setattr(generation, "perf_counter", lambda: now)
    monkeypatch.setattr(model.engine, "step", stopped_step)
    stream = model.stream(PROMPT, max_tokens=4, temperature=0)
    timing = stream.finish().timing
    assert (timing.prefill_s, timing.decode_s, timing.decode_steps) == (1, 3, 3)


def test_a_prompt_that_begins_like_the_last_one_is_not_computed_again(directory: Path) -> None:
    model = nearlight.load(directory, kv="f32")
    first = model.generate(PROMPT, max_tokens=6, temperature=0)
    longer = [*PROMPT, *first.token_ids, 9, 10]
    second = model.generate(longer, max_tokens=3, temperature=0)
    assert second.cached_tokens == len(PROMPT) + 5  # all but the last generated token
    assert second.timing.prefill_tokens == 3
    assert (
        second.token_ids == nearlight.load(directory, kv="f32").generate(longer, max_tokens=3, temperature=0).token_ids
    )


def test_usage_and_timing(model: nearlight.LanguageModel) -> None:
    completion = model.generate([1, 2, 3], max_tokens=8, temperature=0)
    assert completion.usage()["prompt_tokens"] == 3
    assert completion.usage()["completion_tokens"] == len(completion.token_ids) == 8
    assert completion.timing.decode_steps == 7
    assert completion.timing.decode_tok_s is not None
    assert completion.timing.decode_tok_s > 0


def test_same_seed_same_tokens(model: nearlight.LanguageModel) -> None:
    one, two, other = (
        model.generate(PROMPT, max_tokens=16, temperature=1.5, seed=seed).token_ids for seed in (11, 11, 12)
    )
    assert one == two
    assert one != other


def test_log_probabilities_come_with_each_token(model: nearlight.LanguageModel) -> None:
    completion = model.generate(PROMPT, max_tokens=4, temperature=0, logprobs=3)
    assert [choice.token for choice in completion.choices] == completion.token_ids
    for choice in completion.choices:
        assert choice.logprob == max(logprob for _, logprob in choice.top)
        assert len(choice.top) == 3


@pytest.mark.parametrize(
    ("prompt", "options", "named"),
    [
        ([], {}, "prompt is empty"),
        ([1] * 65, {}, "at most 64 tokens, found 65"),
        ([103], {}, "token id"),
        ([1], {"max_tokens": -1}, "max_tokens"),
        ([1], {"temperature": -0.5}, "temperature"),
        ("hello", {}, "no tokenizer"),
    ],
)
def test_bad_requests_are_one_line(model: nearlight.LanguageModel, prompt: object, options: dict, named: str) -> None:
    with pytest.raises(nearlight.NearlightError, match=named) as caught:
        model.generate(prompt, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weights": "w5"}, "bf16, w8, w6, w4, found 'w5'"),
        ({"kv": "q1"}, "kv"),
        ({"backend": "tpu"}, "backend"),
        ({"threads": 0}, "threads"),
        ({"context": 0}, "context"),
    ],
)
def test_bad_load_options_are_one_line(directory: Path, options: dict, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        nearlight.load(directory, **options)
