"""What a chat template may call, and how large each result may get.

Operators, methods and filters are listed, not guessed: what is absent cannot be called. Where a result can outgrow its
operands, its size is predicted from them and checked before it is made.

Source: the behaviour of Python's str and of Jinja 3.1's filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from types import BuiltinMethodType, MethodType
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.runtime import BlockReference, LoopContext, Macro, Undefined
from jinja2.utils import Cycler, Joiner

from nearlight.text.budget import MAX_INTEGER_BITS, Budget, BudgetExceeded, Once

BUDGET: ContextVar[Budget] = ContextVar("template_budget")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Methods whose result is no larger than what goes in, and whose time is linear in it.
_STR_METHODS = _names(
    "capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier islower "
    "isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix rfind rindex "
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title upper "
    # these grow; _check_str_method predicts by how much
    "center ljust rjust zfill expandtabs join replace"
)
_METHODS: tuple[tuple[type, frozenset[str]], ...] = (
    (str, _STR_METHODS),
    (dict, frozenset({"get", "items", "keys", "values", "copy"})),
    (list, frozenset({"count", "index", "copy"})),
    (tuple, frozenset({"count", "index"})),
    (range, frozenset({"count", "index"})),
    (int, frozenset({"bit_length", "bit_count", "conjugate"})),
    (float, frozenset({"is_integer", "conjugate"})),
    (LoopContext, frozenset({"cycle", "changed"})),
    (Cycler, frozenset({"next", "reset"})),
)
_CALLABLE_OBJECTS = (Macro, LoopContext, BlockReference, Joiner, Undefined)
FILTERS = _names(
    "abs attr batch capitalize center count d default dictsort e escape filesizeformat first float forceescape format "
    "groupby indent int items join last length list lower map max min random reject rejectattr replace reverse round "
    "safe select selectattr slice sort string sum title trim truncate unique upper urlencode wordcount"
)
# These look at no more than an end of a sequence, so weighing the whole of it would cost more than they do.
_GLANCES = frozenset({"attr", "count", "d", "default", "first", "last", "length", "random"})
_MAX_INDENT = 1000


class BoundedFormat:
    """`'…'.format` with the size of what it makes checked first; attribute access inside stays sandboxed."""

    def __init__(self, template: str, run: Callable[..., str]) -> None:
        self._template, self._run = template, run

    def __call__(self, *args: Any, **kwargs: Any) -> str:
        check_format(self._template, "{", (args, kwargs))
        return self._run(*args, **kwargs)


def check_format(template: str, mark: str, values: Any) -> None:
    """Refuse to fill a format string whose result could be too large.

    Raises: BudgetExceeded. A field's width has at most three digits and is written out, not taken from a value.
    """
    budget = BUDGET.get()
    nested = r"\{[^{}]*\{" if mark == "{" else r"%[^a-zA-Z%]*\*"
    if re.search(r"\d{4}", template) or re.search(nested, template):
        raise BudgetExceeded("it formats text to a width of thousands, or one that is computed")
    fields = template.count(mark)
    budget.check(len(template) + fields * (budget.weigh(values) + 999))


def check_binop(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result could be too large, before it is made.

    Raises: BudgetExceeded.
    """
    budget = BUDGET.get()
    sequence = (str, bytes, list, tuple)
    if operator == "%" and isinstance(left, str):
        check_format(left, "%", right)
    elif operator == "+" and isinstance(left, sequence) and isinstance(right, sequence):
        budget.check(budget.weigh(left) + budget.weigh(right))
    elif operator == "*" and isinstance(left, sequence) and isinstance(right, int):
        budget.check(budget.weigh(left) * right)
    elif operator == "*" and isinstance(right, sequence) and isinstance(left, int):
        budget.check(budget.weigh(right) * left)
    elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() + right.bit_length() if operator == "*" else left.bit_length() * max(right, 0)
        if bits > MAX_INTEGER_BITS and abs(left) > 1:
            raise BudgetExceeded(f"an integer grows beyond {MAX_INTEGER_BITS} bits")


def check_call(allowed: dict[str, Any], function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse to call anything but macros, the environment's own functions, and listed methods of plain values.

    Raises: SecurityError naming the callable; BudgetExceeded.
    """
    if isinstance(function, (*_CALLABLE_OBJECTS, BoundedFormat)):
        return
    if any(function is known for known in allowed.values()):
        return
    if isinstance(function, BuiltinMethodType | MethodType):
        owner, name = function.__self__, function.__name__
        for kind, names in _METHODS:
            if isinstance(owner, kind) and name in names:
                if isinstance(owner, str):
                    _check_str_method(owner, name, (*args, *kwargs.values()))
                return
        raise SecurityError(f"chat templates may not call {type(owner).__name__}.{name}")
    raise SecurityError(f"chat templates may not call a {type(function).__name__}")


def _check_str_method(text: str, name: str, args: tuple[Any, ...]) -> None:
    budget = BUDGET.get()
    if name in ("center", "ljust", "rjust", "zfill") and args and isinstance(args[0], int):
        budget.check(args[0])
    elif name == "expandtabs":
        width = args[0] if args and isinstance(args[0], int) else 8
        budget.check(len(text) + text.count("\t") * max(width, 0))
    elif name == "join" and args:
        size = budget.size(args[0])
        budget.check(size + _entries(args[0], size) * len(text))
    elif name == "replace" and len(args) >= 2 and isinstance(args[0], str) and isinstance(args[1], str):
        _check_replace(text, args[0], args[1])
    if name not in ("join", "replace", "center", "ljust", "rjust"):
        for pattern in args:
            if isinstance(pattern, str):
                budget.check_search(text, pattern)


def _check_replace(text: str, old: str, new: str) -> None:
    budget = BUDGET.get()
    budget.check_search(text, old)
    budget.check(len(text) + text.count(old) * len(new))


def _entries(value: Any, otherwise: int) -> int:
    sized = value._items if isinstance(value, Once) else value
    return len(sized) if hasattr(sized, "__len__") else otherwise


def metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its input is weighed, its result predicted and paid, and nothing lazy comes out."""
    leading = 1 if hasattr(function, "jinja_pass_arg") else 0
    check = _FILTER_CHECKS.get(name)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        budget = BUDGET.get()
        given = args[leading:]
        budget.tick()
        if name not in _GLANCES:
            budget.weigh((given, kwargs))
            if check is not None:
                check(*given, **kwargs)
        result = function(*args, **kwargs)
        if isinstance(result, Iterator) and not isinstance(result, Once):
            result = Once(_drained(result, budget))
        return budget.made(result)

    return run


def _drained(items: Iterator[Any], budget: Budget) -> list[Any]:
    drained: list[Any] = []
    for item in items:
        budget.tick(budget.size(item))
        drained.append(item)
    budget.weigh(drained)
    return drained


def metered_test(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a test so that the clock is read before it."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        BUDGET.get().tick()
        return function(*args, **kwargs)

    return run


# How large a filter's result can get. The parameters are Jinja's own, by name and position.


def _check_width(value: Any, width: Any = 80) -> None:
    BUDGET.get().check(width if isinstance(width, int) else 0)


def _check_indent(s: Any, width: Any = 4, first: bool = False, blank: bool = False) -> None:
    step = len(width) if isinstance(width, str) else width if isinstance(width, int) else 0
    BUDGET.get().check(len(str(s)) + (str(s).count("\n") + 1) * step)


def _check_groups(value: Any, count: Any, fill_with: Any = None) -> None:
    budget = BUDGET.get()
    budget.check((count if isinstance(count, int) else 0) * budget.size(fill_with))


def _check_batch(value: Any, linecount: Any, fill_with: Any = None) -> None:
    _check_groups(value, linecount, fill_with)


def _check_slice(value: Any, slices: Any, fill_with: Any = None) -> None:
    _check_groups(value, slices, fill_with)


def _check_join(value: Any, d: Any = "", attribute: Any = None) -> None:
    budget = BUDGET.get()
    size = budget.size(value)
    budget.check(size + _entries(value, size) * len(str(d)))


def _check_replace_filter(s: Any, old: Any, new: Any, count: Any = None) -> None:
    _check_replace(str(s), str(old), str(new))


def _check_round(value: Any, precision: Any = 0, method: Any = "common") -> None:
    if isinstance(precision, int) and abs(precision) > 100:
        raise BudgetExceeded("it rounds to more than 100 digits")


def _check_sum(iterable: Any, attribute: Any = None, start: Any = 0) -> None:
    # Summing lists copies the sum so far each time; summing numbers does not.
    budget = BUDGET.get()
    size = budget.size(iterable)
    if size > 10_000 and not isinstance(start, int | float):
        budget.check(size * size)


def _check_trim(value: Any, chars: Any = None) -> None:
    if isinstance(chars, str):
        BUDGET.get().check_search(str(value), chars)


def _check_int(value: Any, default: Any = 0, base: Any = 10) -> None:
    if isinstance(value, str) and len(value) > MAX_INTEGER_BITS // 4:
        raise BudgetExceeded(f"an integer grows beyond {MAX_INTEGER_BITS} bits")


def _check_format_filter(value: Any, *args: Any, **kwargs: Any) -> None:
    check_format(str(value), "%", (args, kwargs))


def _check_tojson(
    x: Any, ensure_ascii: Any = False, indent: Any = None, separators: Any = None, sort_keys: Any = False
) -> None:
    budget = BUDGET.get()
    size = budget.size(x)
    step = len(indent) if isinstance(indent, str) else indent if isinstance(indent, int) else 0
    if step > _MAX_INDENT:
        raise BudgetExceeded(f"it indents JSON by more than {_MAX_INDENT} characters")
    between = sum(len(text) for text in separators or () if isinstance(text, str))
    budget.check(size * (1 + between / 2) + _indentation(x) * step)


def _indentation(value: Any) -> int:
    """Count the steps of indentation in a value's JSON: each entry is indented by its depth."""
    total, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        total += depth
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
        waiting.extend((part, depth + 1) for part in inside)
    return total


_FILTER_CHECKS: dict[str, Callable[..., None]] = {
    "batch": _check_batch,
    "center": _check_width,
    "format": _check_format_filter,
    "indent": _check_indent,
    "int": _check_int,
    "join": _check_join,
    "replace": _check_replace_filter,
    "round": _check_round,
    "slice": _check_slice,
    "sum": _check_sum,
    "tojson": _check_tojson,
    "trim": _check_trim,
}
