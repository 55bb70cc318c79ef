"""Steps over a real (random) model: what is kept, what is computed again, and what a failure leaves behind."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nearlight
from nearlight.engine.engine import Engine
from nearlight.engine.sequence import embedding_token
from nearlight.errors import NearlightError, RequestError
from nearlight.kernels.ops import Rows
from tests.models.random_models import CONFIGS, write_model

IDS = [7, 3, 90, 41, 5, 66, 12, 99, 4, 8, 15]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qwen3")
    write_model(path, CONFIGS["qwen3"])
    return path


@pytest.fixture(params=["cpu", "reference"])
def engine(directory: Path, request: pytest.FixtureRequest) -> Engine:
    return nearlight.load(directory, backend=request.param, context=40).engine


def last_logits(engine: Engine, ids: list[int]) -> np.ndarray:
    sequence = engine.open()
    engine.extend(sequence, ids)
    logits = engine.logits(sequence)[-1]
    engine.close(sequence)
    return logits


def test_replace_keeps_the_common_prefix(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    engine.step([sequence])
    engine.replace(sequence, [*IDS[:6], 50, 51])
    assert sequence.computed == 6
    assert sequence.n_pending == 2
    np.testing.assert_allclose(
        engine.step([sequence])[sequence][-1], last_logits(engine, [*IDS[:6], 50, 51]), rtol=0, atol=2e-5
    )


def test_replace_by_itself_computes_the_last_token_again(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    first = engine.step([sequence])[sequence]
    engine.replace(sequence, IDS)
    assert sequence.computed == len(IDS) - 1
    np.testing.assert_allclose(engine.step([sequence])[sequence], first, rtol=0, atol=2e-5)


def test_prompts_are_computed_in_chunks(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    assert engine.step([sequence], max_rows=4) == {}
    assert sequence.computed == 4
    assert engine.step([sequence], max_rows=4) == {}
    assert list(engine.step([sequence], max_rows=4)) == [sequence]


def test_sequences_have_as_many_logits_as_they_ask_for(engine: Engine) -> None:
    """One checks three drafted tokens, one reads a prompt, one chooses its next token."""
    drafts, prompt, decoding = engine.open(), engine.open(), engine.open()
    engine.extend(drafts, IDS[:5])
    engine.extend(decoding, IDS[:8])
    engine.step([drafts, decoding])
    engine.extend(drafts, [20])
    engine.draft(drafts, [21, 22, 23])
    engine.extend(prompt, IDS)
    engine.extend(decoding, [30])
    logits = engine.step([prompt, drafts, decoding], max_rows=9)
    assert {each: len(rows) for each, rows in logits.items()} == {drafts: 4, decoding: 1}
    assert prompt.computed == 4
    for each, n_logits in ((drafts, 4), (decoding, 1)):
        alone = engine.open()
        engine.extend(alone, each.tokens)
        np.testing.assert_allclose(logits[each], engine.logits(alone)[-n_logits:], rtol=0, atol=2e-5)


def test_drafted_tokens_that_were_wrong_are_forgotten(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    engine.step([sequence])
    engine.extend(sequence, [20])
    engine.draft(sequence, [21, 22])
    assert len(engine.step([sequence])[sequence]) == 3
    engine.rewind(sequence, len(IDS) + 1)  # the first was right
    engine.extend(sequence, [40])
    np.testing.assert_allclose(
        engine.step([sequence])[sequence][-1], last_logits(engine, [*IDS, 20, 40]), rtol=0, atol=2e-5
    )


def test_a_failed_step_leaves_the_sequence_as_it_was(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS[:5])
    engine.step([sequence])
    engine.extend(sequence, IDS[5:])
    program = engine._program

    def interrupted(rows: object, watch: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "_program", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.step([sequence])
    assert engine.cache.length(sequence.number) == sequence.computed == 5
    monkeypatch.setattr(engine, "_program", program)
    np.testing.assert_allclose(engine.step([sequence])[sequence][-1], last_logits(engine, IDS), rtol=0, atol=2e-5)


def test_a_fork_goes_its_own_way(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS[:5])
    engine.step([sequence])
    fork = engine.fork(sequence)
    for one, token in ((sequence, 20), (fork, 30)):
        engine.extend(one, [token])
    logits = engine.step([sequence, fork])
    for one in (sequence, fork):
        np.testing.assert_allclose(logits[one][-1], last_logits(engine, one.tokens), rtol=0, atol=2e-5)


@pytest.mark.parametrize("where", ["settle", "commit", "extend"])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_anywhere_in_the_bookkeeping_is_mended(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, where: str, after: bool
) -> None:
    """Ctrl-C before or after the cache has taken something in, and the sequence not yet."""
    sequence = engine.open()
    engine.extend(sequence, IDS)
    engine.step([sequence])
    usual = getattr(engine.cache, where)

    def pressed(*arguments: Any, **options: Any) -> Any:
        if after:
            usual(*arguments, **options)
        raise KeyboardInterrupt

    def go_on() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine.cache, where, pressed)
            engine.rewind(sequence, 4)
            engine.extend(sequence, [50, 51])
            engine.step([sequence])

    with pytest.raises(KeyboardInterrupt):
        go_on()
    engine.replace(sequence, [*IDS[:4], 50, 51])
    np.testing.assert_allclose(
        engine.step([sequence])[sequence][-1], last_logits(engine, [*IDS[:4], 50, 51]), rtol=0, atol=2e-5
    )


def test_a_prompt_that_is_refused_costs_nothing(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    engine.step([sequence])
    for tokens in ([*IDS[:3], 103], [1] * 41, []):
        with pytest.raises(RequestError):
            engine.replace(sequence, tokens)
    assert (sequence.tokens, sequence.computed) == (IDS, len(IDS))


def test_rows_given_as_embeddings_are_rows_like_others(engine: Engine) -> None:
    """The table's own rows, given as embeddings, give the logits of their ids, and are known again."""
    table = next(parameter for parameter in engine.model.parameters() if parameter.role == "embedding")
    rows = engine.ops.program(lambda rows: engine.ops.embed(table.value, rows.tokens))
    vectors = rows(Rows(IDS[2:6], [0, 1, 2, 3], [0] * 4, []))
    given = {embedding_token(vector): vector for vector in vectors}
    tokens = [*IDS[:2], *given, *IDS[6:]]
    sequence = engine.open()
    engine.extend(sequence, tokens, embeddings=given)
    np.testing.assert_allclose(engine.logits(sequence)[-1], last_logits(engine, IDS), rtol=0, atol=2e-5)
    engine.replace(sequence, [*tokens[:5], 50], embeddings=given)
    assert sequence.computed == 5
    np.testing.assert_allclose(
        engine.step([sequence])[sequence][-1], last_logits(engine, [*IDS[:5], 50]), rtol=0, atol=2e-5
    )
    with pytest.raises(RequestError, match=r"token id: expected 0 … 102, found -"):
        engine.extend(sequence, [embedding_token(vectors[0] + 1)])
    engine.rewind(sequence, 3)
    assert list(sequence.embeddings) == tokens[2:3]


def test_an_embedding_of_another_width_is_refused(engine: Engine) -> None:
    sequence, vector = engine.open(), np.zeros(41, np.float32)
    engine.extend(sequence, [embedding_token(vector)], embeddings={embedding_token(vector): vector})
    with pytest.raises(NearlightError, match=r"42, found 41"):
        engine.step([sequence])


@pytest.mark.parametrize("ids", [[103], [-1], [2**40]])
def test_ids_out_of_range(engine: Engine, ids: list[int]) -> None:
    with pytest.raises(RequestError, match=r"token id: expected 0 … 102, found"):
        engine.extend(engine.open(), ids)


def test_longer_than_the_context_is_refused_and_nothing_is_lost(engine: Engine) -> None:
    sequence = engine.open()
    engine.extend(sequence, IDS)
    with pytest.raises(RequestError, match=r"at most 40 tokens, found 41"):
        engine.extend(sequence, [1] * 30)
    assert sequence.tokens == IDS


def test_closing_releases_the_storage(engine: Engine) -> None:
    before = engine.cache.n_bytes
    sequence = engine.open()
    engine.extend(sequence, IDS)
    engine.step([sequence])
    assert engine.cache.n_bytes > before
    engine.close(sequence)
    assert engine.cache.n_bytes == before


def test_a_dropped_model_gives_its_memory_back_at_once(tmp_path: Path) -> None:
    """Without waiting for the garbage collector: whoever drops a model may want to load the next."""
    write_model(tmp_path, CONFIGS["qwen3"])
    model = nearlight.load(tmp_path)
    model.logits([1, 2, 3])
    gc.collect()
    gc.disable()
    try:
        held = [weakref.ref(part) for part in (model.engine, model.engine.cache, model.engine.model, model.engine.ops)]
        del model
        assert [part() for part in held] == [None] * len(held)
    finally:
        gc.enable()
