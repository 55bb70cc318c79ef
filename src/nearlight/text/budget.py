"""What rendering a chat template may cost: time, the size of any one value, and the sum of all values made.

A template is a stranger's program. Python cannot interrupt a single operation such as `'a' * 10**9`, so no operation
may be large: every value is bounded *as a tree*, counting what is shared as often as it is reached. Comparing, hashing,
sorting or printing a value of bounded tree size takes bounded time, and between operations the clock is read.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from time import perf_counter
from typing import Any

from jinja2.utils import Namespace

MAX_INTEGER_BITS = 8192
_ENTRY = 8  # what an entry of a list or dict costs, where a character costs 1: about its bytes
_TOTAL_VALUES = 64  # how many values of the largest size a render may make in all
_SEARCH_STEPS = 1 << 28  # text length times pattern length; what C does in about a tenth of a second


class BudgetExceeded(Exception):  # noqa: N818  (a state of the budget, not a mistake in code)
    """A template asked for more than it may have; the message says of what."""


class Once:
    """The result of a lazy filter: a list that can be walked once, has no length and is true even when empty.

    Those are a generator's manners, which templates can observe, but its size is known.
    """

    __slots__ = ("_items", "_rest")

    def __init__(self, items: list[Any]) -> None:
        self._items = items
        self._rest = iter(items)

    def __iter__(self) -> Iterator[Any]:
        return self._rest

    def __next__(self) -> Any:
        return next(self._rest)


class Budget:
    """Counts down during one render.

    Units: value_limit is in characters, an entry of a list counting as eight; `seconds` are those of `clock`.
    """

    def __init__(self, value_limit: int, seconds: float, clock: Callable[[], float] = perf_counter) -> None:
        self.value_limit = value_limit
        self._left = _TOTAL_VALUES * value_limit
        self._seconds = seconds
        self._clock = clock
        self._deadline = clock() + seconds

    def tick(self, made: int = 1) -> None:
        """Account for one operation that made something of this size.

        Raises: BudgetExceeded when time or the sum is used up.
        """
        self._left -= made
        if self._left < 0:
            raise BudgetExceeded("it makes too much text and data in all")
        if self._clock() > self._deadline:
            raise BudgetExceeded(f"it runs longer than {self._seconds:g} s")

    def check(self, size: int | float) -> None:
        """Raise BudgetExceeded if a value of this size may not be made."""
        if size > self.value_limit:
            raise BudgetExceeded(f"a value or its output grows beyond {self.value_limit} characters")

    def made(self, value: Any) -> Any:
        """Account for a value whose parts are accounted for already; return it."""
        size = value.bit_length() // 8 if isinstance(value, int) else len(value) if hasattr(value, "__len__") else 1
        if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            raise BudgetExceeded(f"an integer grows beyond {MAX_INTEGER_BITS} bits")
        self.check(size)
        self.tick(1 + size)
        return value

    def weigh(self, value: Any) -> int:
        """Account for a value with all it holds, and return its tree size.

        Raises: BudgetExceeded if that is larger than one value may be.
        """
        size = self.size(value)
        self.check(size)
        self.tick(size)
        return size

    def size(self, value: Any) -> int:
        """Measure a value's tree, up to the limit, without accounting for it."""
        return tree_size(value, self.value_limit, self.tick)

    def check_search(self, text: str, pattern: str) -> None:
        """Refuse searches that could take text times pattern steps and are long."""
        if len(text) * len(pattern) > _SEARCH_STEPS:
            raise BudgetExceeded("it searches a long text for a long pattern")


def tree_size(value: Any, limit: float, tick: Callable[[], None] | None = None) -> int:
    """Measure a value with everything it holds, in characters; stop once past `limit`.

    What is shared counts each time, and a cycle therefore runs into the limit. `tick` is called now and then.
    """
    total = visited = 0
    waiting = [value]
    while waiting and total <= limit:
        item = waiting.pop()
        total += 1
        visited += 1
        if tick is not None and visited % 1024 == 0:
            tick()
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, range):
            total += _ENTRY * len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 3
        elif isinstance(item, dict):
            total += 2 * _ENTRY * len(item)
            if total <= limit:
                waiting.extend(item.keys())
                waiting.extend(item.values())
        elif isinstance(item, list | tuple | set | frozenset | KeysView | ValuesView | ItemsView):
            total += _ENTRY * len(item)
            if total <= limit:
                waiting.extend(item)
        elif isinstance(item, Once):
            waiting.append(item._items)
        elif isinstance(item, Namespace):
            waiting.append(item._Namespace__attrs)
    return total
