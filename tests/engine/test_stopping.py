"""Stopping: Ctrl-C and `Stream.close` end an answer in the middle of a step, and nothing is lost.

No clock says when: steps ask before every piece of their work, and what they ask presses Ctrl-C or closes the stream.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import pytest
import transformers

import nearlight
from nearlight import LanguageModel
from nearlight.engine.engine import Engine
from nearlight.kernels.ops import Watch
from tests.engine.test_chat import CHATML, write_tokenizer
from tests.models.random_models import SIZES, write_model
from tests.signals import sends

ROOT = Path(__file__).parents[2]
ROWS = 150  # of a step that one thread does in pieces too
SHORT = [7, 3, 90, 41, 5]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    n_tokens = write_tokenizer(path, CHATML)
    sizes = {**SIZES, "vocab_size": n_tokens, "eos_token_id": n_tokens - 1, "max_position_embeddings": 2000}
    write_model(path, transformers.Qwen3Config(**sizes, head_dim=10))
    return path


def load(directory: Path, threads: int) -> LanguageModel:
    """Load a model whose steps ask before every piece of work."""
    model = nearlight.load(directory, threads=threads)
    model.engine.ops.runtime.ask_every_s = 0.0
    return model


def watch_steps(model: LanguageModel, choose: Callable[[Watch], Watch]) -> None:
    """From now on, replace what each of the model's steps is to call by what `choose` makes of it."""
    engine = model.engine
    engine.step = lambda sequences, watch: Engine.step(engine, sequences, watch=choose(watch))  # type: ignore


@pytest.mark.parametrize(("threads", "after"), [(1, 0), (1, 40), (2, 0), (3, 0)])
def test_ctrl_c_ends_a_step_and_the_sequence_is_as_before(directory: Path, threads: int, after: int) -> None:
    engine = load(directory, threads).engine
    sequence = engine.open()
    engine.extend(sequence, SHORT)
    before = engine.step([sequence])[sequence].copy()
    engine.extend(sequence, [5] * ROWS)
    signals = iter([*[0] * after, signal.SIGINT, 0, 0, 0])
    with pytest.raises(KeyboardInterrupt):
        engine.step([sequence], watch=sends(signals))
    assert list(signals) == [0, 0, 0]  # it did not ask again
    assert sequence.computed == engine.cache.length(sequence.number) == len(SHORT)
    engine.replace(sequence, SHORT)
    assert (engine.step([sequence])[sequence] == before).all()


def test_a_step_ends_with_the_next_piece(directory: Path) -> None:
    """Of a step with hundreds of pieces, all on one thread, no other is begun."""
    engine = load(directory, 1).engine
    sequence = engine.open()
    asked: list[int] = []

    def watch() -> None:
        asked.append(len(asked))
        if len(asked) == n_pieces // 2:
            raise TimeoutError("enough")

    engine.extend(sequence, [5] * ROWS)
    n_pieces = 0
    engine.step([sequence], watch=watch)
    n_pieces = len(asked)
    assert n_pieces > 100
    engine.extend(sequence, [5] * ROWS)
    asked.clear()
    with pytest.raises(TimeoutError, match="enough"):
        engine.step([sequence], watch=watch)
    assert len(asked) == n_pieces // 2
    assert sequence.computed == engine.cache.length(sequence.number) == ROWS


def test_a_short_step_is_not_asked(directory: Path) -> None:
    model = nearlight.load(directory, threads=2)
    assert model.engine.ops.runtime.ask_every_s == 0.05
    model.engine.ops.runtime.ask_every_s = 3600.0
    asked: list[None] = []
    watch_steps(model, lambda _: lambda: asked.append(None))
    assert len(model.generate(SHORT, max_tokens=3, temperature=0).token_ids) == 3
    assert asked == []
    model.engine.ops.runtime.ask_every_s = 0.0
    model.generate(SHORT, max_tokens=3, temperature=0)
    assert len(asked) >= 3


IN_THE_PROMPT = """
import signal, sys
from nearlight.cli.main import main
from nearlight.engine.engine import Engine
from tests.signals import sends
step = Engine.step
def pressed(engine, sequences, watch):
    engine.ops.runtime.ask_every_s = 0.0
    return step(engine, sequences, watch=sends([signal.SIGINT, 0]))
Engine.step = pressed
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_ends_the_command_while_it_reads_the_prompt(directory: Path) -> None:
    command = [sys.executable, "-c", IN_THE_PROMPT, "run", str(directory), "why? " * 200, "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stdout.strip() == ""
    assert "stopped by you" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_keeps_the_answer_so_far_in_the_conversation(directory: Path) -> None:
    model = load(directory, 1)
    chat = model.conversation()
    stream = chat.say("Hello", temperature=0)
    answer = stream.completion
    watch_steps(model, lambda usual: sends([*[0] * 30, signal.SIGINT, 0]) if len(answer.token_ids) == 20 else usual)
    shown: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        shown.extend(piece.text for piece in stream)
    stream.close()
    assert (answer.finish_reason, len(answer.token_ids)) == ("cancelled", 20)
    assert shown
    assert answer.text.startswith("".join(shown))
    assert chat.messages[-1] == {"role": "assistant", "content": answer.text}
    watch_steps(model, lambda usual: usual)
    chat.say("Go on", max_tokens=3).finish()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("prompt", "n_tokens"), [([5] * ROWS, 0), (SHORT, 4)], ids=["while it reads the prompt", "while it answers"]
)
def test_another_thread_closes_a_stream(directory: Path, prompt: list[int], n_tokens: int, threads: int) -> None:
    model = load(directory, threads)
    model.stop_ids = frozenset()
    stream = model.stream(prompt, temperature=0)
    in_a_step, closed = threading.Event(), threading.Event()

    def choose(usual: Watch) -> Watch:
        def watch() -> None:
            if len(stream.completion.token_ids) == n_tokens:
                in_a_step.set()
                closed.wait()
            usual()

        return watch

    watch_steps(model, choose)
    thread = threading.Thread(target=stream.finish)
    thread.start()
    in_a_step.wait()
    stream.close()
    closed.set()
    thread.join()
    assert (stream.completion.finish_reason, len(stream.completion.token_ids)) == ("cancelled", n_tokens)
    wanted = nearlight.load(directory, threads=1).generate(SHORT, max_tokens=6, temperature=0).token_ids
    watch_steps(model, lambda usual: usual)
    assert model.generate(SHORT, max_tokens=6, temperature=0).token_ids == wanted


def test_watch_cannot_begin_a_step_of_its_own(directory: Path) -> None:
    model = load(directory, 2)
    sequence = model.engine.open()
    model.engine.extend(sequence, [5] * ROWS)
    with pytest.raises(RuntimeError, match="a step was begun by what is called during another"):
        model.engine.step([sequence], watch=lambda: model.generate(SHORT, max_tokens=1) and None)


def test_a_signal_that_python_ignores_ends_nothing(directory: Path) -> None:
    engine = load(directory, 1).engine
    sequence, other = engine.open(), engine.open()
    engine.extend(sequence, [5] * ROWS)
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    try:
        logits = engine.step([sequence], watch=sends(repeat(signal.SIGUSR1)))[sequence]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(came) > 100
    engine.extend(other, [5] * ROWS)
    assert (engine.logits(other)[-1:] == logits).all()
