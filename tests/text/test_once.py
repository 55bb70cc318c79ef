"""A value made once, whoever asks, and however many at a time."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from nearlight.text.once import Once


def test_it_is_made_once_for_all_who_ask() -> None:
    begun, go_on = Event(), Event()
    made: list[object] = []

    def make() -> object:
        made.append(object())
        begun.set()
        go_on.wait()
        return made[-1]

    once, got = Once(make), []
    threads = [Thread(target=lambda: got.append(once.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert got == made * 4
    assert once.get() is made[0]


def test_none_is_a_value() -> None:
    calls: list[int] = []
    once = Once(lambda: calls.append(1))
    assert once.get() is None
    assert once.get() is None
    assert len(calls) == 1


def test_a_failure_is_told_and_tried_again() -> None:
    results = iter([ValueError("not yet"), 7])

    def make() -> int:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    once = Once(make)
    with pytest.raises(ValueError, match="not yet"):
        once.get()
    assert once.get() == 7
