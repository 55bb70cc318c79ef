"""Stopping: Ctrl-C and `Stream.close` end an answer at once, in the middle of a long step too, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import transformers

import nearlight
from nearlight.engine.engine import Engine
from tests.engine.test_chat import CHATML, write_tokenizer
from tests.models.random_models import SIZES, write_model

ROOT = Path(__file__).parents[2]
LONG = 30_000  # tokens of a prompt that takes a minute
ROWS = 6_000  # of a step that takes seconds, in pieces of less than one
SHORT = [7, 3, 90, 41, 5]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slow")
    n_tokens = write_tokenizer(path, CHATML)
    sizes = {**SIZES, "vocab_size": n_tokens, "hidden_size": 96, "num_hidden_layers": 24, "eos_token_id": n_tokens - 1}
    sizes |= {"num_attention_heads": 12, "max_position_embeddings": LONG + 1000}
    write_model(path, transformers.Qwen3Config(**sizes, head_dim=16))
    return path


class Program:
    """A Python program on a model, to be interrupted: it prints a line when it is time."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_for_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def interrupt(self) -> tuple[str, str]:
        """Press Ctrl-C; return what is written from then on. It must end within a second."""
        assert self.process.poll() is None, self.process.communicate()
        pressed = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        assert time.perf_counter() - pressed < 1
        return out, err


ONE_STEP = f"""
import sys, nearlight
model = nearlight.load(sys.argv[1], threads=int(sys.argv[2]))
engine = model.engine
sequence = engine.open()
engine.extend(sequence, {SHORT})
before = engine.step([sequence])[sequence].copy()
engine.extend(sequence, [5] * {LONG})
print("computing", flush=True)
try:
    engine.step([sequence], max_rows={ROWS})
except KeyboardInterrupt:
    assert sequence.computed == engine.cache.length(sequence.number) == {len(SHORT)}
    engine.replace(sequence, {SHORT})
    assert (engine.step([sequence])[sequence] == before).all()
    print("as it was", flush=True)
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c_ends_a_step_of_many_seconds_and_the_sequence_is_as_before(directory: Path, threads: int) -> None:
    program = Program("-c", ONE_STEP, str(directory), str(threads))
    assert program.wait_for_line() == "computing\n"
    time.sleep(0.2)
    assert program.interrupt() == ("as it was\n", "")
    assert program.process.returncode == 0


def test_ctrl_c_ends_the_command_while_it_reads_the_prompt(directory: Path) -> None:
    program = Program("-m", "nearlight", "run", str(directory), "why? " * (LONG // 5 - 20), "--threads", "1")
    time.sleep(3)
    out, err = program.interrupt()
    assert program.process.returncode == 130
    assert out.strip() == ""
    assert "stopped by you" in err
    assert "Traceback" not in err


ANSWER = """
import sys, nearlight
chat = nearlight.load(sys.argv[1], threads=1).conversation()
try:
    shown = ""
    stream = chat.say("Hello", temperature=0)
    for piece in stream:
        shown += piece.text
        if len(stream.completion.token_ids) == 20:
            print("answering", flush=True)
except KeyboardInterrupt:
    stream.close()
    assert stream.completion.finish_reason == "cancelled"
    assert len(stream.completion.token_ids) >= 20
    assert stream.completion.text.startswith(shown)
    assert chat.messages[-1] == {"role": "assistant", "content": stream.completion.text}
    chat.say("Go on", max_tokens=3).finish()
    print("kept", flush=True)
"""


def test_ctrl_c_keeps_the_answer_so_far_in_the_conversation(directory: Path) -> None:
    program = Program("-c", ANSWER, str(directory))
    assert program.wait_for_line() == "answering\n"
    assert program.interrupt() == ("kept\n", "")


@pytest.mark.parametrize("prompt", [[5] * LONG, SHORT], ids=["while it reads the prompt", "while it answers"])
def test_another_thread_closes_a_stream(directory: Path, prompt: list[int]) -> None:
    model = nearlight.load(directory, threads=2)
    model.stop_ids = frozenset()
    stream = model.stream(prompt, temperature=0)
    ended: list[float] = []
    # Without a tokenizer's pieces to wait for, the whole answer is made inside `finish`.
    thread = threading.Thread(target=lambda: ended.append(stream.finish() and time.perf_counter()))
    thread.start()
    time.sleep(0.2)
    closed = time.perf_counter()
    stream.close()
    thread.join(30)
    assert ended[0] - closed < 1
    assert stream.completion.finish_reason == "cancelled"
    fresh = nearlight.load(directory, threads=1)
    wanted = fresh.generate(SHORT, max_tokens=6, temperature=0).token_ids
    assert model.generate(SHORT, max_tokens=6, temperature=0).token_ids == wanted


def test_what_watch_raises_ends_the_step(directory: Path) -> None:
    engine: Engine = nearlight.load(directory, threads=2).engine
    sequence = engine.open()
    engine.extend(sequence, [5] * LONG)

    def watch() -> None:
        raise TimeoutError("enough")

    started = time.perf_counter()
    with pytest.raises(TimeoutError, match="enough"):
        engine.step([sequence], max_rows=ROWS, watch=watch)
    assert time.perf_counter() - started < 1
    assert sequence.computed == engine.cache.length(sequence.number) == 0


def test_watch_cannot_begin_a_step_of_its_own(directory: Path) -> None:
    model = nearlight.load(directory, threads=2)
    sequence = model.engine.open()
    model.engine.extend(sequence, [5] * LONG)
    with pytest.raises(RuntimeError, match="a step was begun by what is called during another"):
        model.engine.step([sequence], max_rows=ROWS, watch=lambda: model.generate(SHORT, max_tokens=1) and None)


def test_a_signal_that_python_ignores_ends_nothing(directory: Path) -> None:
    engine: Engine = nearlight.load(directory, threads=2).engine
    sequence = engine.open()
    engine.extend(sequence, [5] * 1500)
    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        logits = engine.step([sequence], max_rows=1500)[sequence]
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == [signal.SIGUSR1]
    other = engine.open()
    engine.extend(other, [5] * 1500)
    assert (engine.logits(other)[-1] == logits).all()
