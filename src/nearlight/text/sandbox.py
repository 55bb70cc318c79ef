"""The Jinja environment chat templates run in: transformers' own, with every operation on a budget.

Jinja's ImmutableSandboxedEnvironment keeps a template from reaching Python; it does not keep it from eating time and
memory. Here the compiled template is instrumented, so that rendering stays in this process and costs no start-up:

* the syntax tree is rewritten before compilation: loop bodies tick (macros do when called), literal text is
  charged, list, tuple and dict displays are weighed, slices and `~` go through functions that check first;
* arithmetic, calls, filters and tests go through tables of what is allowed, with the size of each result predicted
  where it can outgrow its operands (`*`, `**`, `%`, `center`, `replace`, `join`, `indent`, …).

Guaranteed: no value larger than the budget's limit comes into being, no more than 64 such values are made in all, and
the clock is read between operations, each of which takes at most some tenths of a second; so a render ends shortly
after its deadline at the latest. Compiling has the same deadline, and a cap on the code it may become. Filters and
methods that fit no such bound do not exist here: urlize, wordwrap, pprint, striptags, xmlattr, str.translate,
str.encode, …; nor do include, import, extends and autoescape.

Source: transformers 5.23 chat_template_utils (what the environment offers); Jinja 3.1's sandbox and compiler.
"""

# ruff: noqa: N802, N815  (Jinja looks a visitor up by the name of its node class)

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from types import CodeType, MethodType
from typing import Any, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Cycler, Joiner, Namespace, pass_context
from jinja2.visitor import NodeTransformer

from nearlight.text.template_calls import (
    BUDGET,
    FILTERS,
    BoundedFormat,
    check_binop,
    check_call,
    metered_filter,
    metered_test,
)


class TemplateRefusal(TemplateRuntimeError):  # noqa: N818  (the template may do so)
    """The template called raise_exception: these messages are not for it."""


def raise_exception(message: object) -> None:
    raise TemplateRefusal(str(message)[:1000])


def strftime_now(form: str) -> str:
    return datetime.now().strftime(str(form)[:1000])


def tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers does; Jinja's own filter would escape for HTML."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class PlainDict:
    """`dict(...)` for templates, without the class's attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class PlainNamespace(Namespace):
    """`namespace(...)` that holds no underscored name."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # No parameter may be called self: `namespace(self=…)` is allowed.
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            PlainNamespace._refuse_private(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        PlainNamespace._refuse_private(name)
        Namespace.__setitem__(self, name, value)

    @staticmethod
    def _refuse_private(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"a namespace holds no underscored attribute such as {name!r}")


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what the model wrote, for training; to a reader it is a scope."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Metering(NodeTransformer):
    """Rewrites a syntax tree so that running it pays."""

    def _call(self, name: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute(name, lineno=line), arguments, [], None, None, lineno=line)

    def _statement(self, name: str, cost: int, line: int) -> nodes.ExprStmt:
        return nodes.ExprStmt(self._call(name, [nodes.Const(cost, lineno=line)], line), lineno=line)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, self._statement("spend", 1, node.lineno))
        if node.test is not None:
            line = node.lineno
            node.test = nodes.And(self._call("spend", [nodes.Const(1, lineno=line)], line), node.test, lineno=line)
        return node

    def visit_Output(self, node: nodes.Output) -> list[nodes.Node]:
        text = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        self.generic_visit(node)
        return [self._statement("spend", 1 + text, node.lineno), node]

    def _weighed(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else self._call("weighed", [node], node.lineno)

    visit_List = visit_Tuple = visit_Dict = _weighed

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        for operand in node.ops:
            operand.expr = self._call("passed", [operand.expr], node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._call("concatenated", node.nodes, node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        ends = [node.arg.start, node.arg.stop, node.arg.step]
        arguments = [end or nodes.Const(None, lineno=node.lineno) for end in ends]
        return self._call("sliced", [node.node, *arguments], node.lineno)

    def _refused(self, node: nodes.Node) -> nodes.Node:
        raise TemplateSyntaxError(f"chat templates may not use {type(node).__name__.lower()}", node.lineno)

    visit_Include = visit_Import = visit_FromImport = visit_Extends = _refused
    visit_ScopedEvalContextModifier = visit_EvalContextModifier = _refused


@pass_context
def _charge_output(context: Context, value: Any) -> Any:
    BUDGET.get().weigh(value)
    return value


class MeteredGenerator(CodeGenerator):
    """Jinja's code generator, with an eye on the clock."""

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        BUDGET.get().tick()
        return super().visit(node, *args, **kwargs)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with transformers' settings, filters and globals, metered."""

    code_generator_class = MeteredGenerator
    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        # `finalize` sees every printed value, and with a context keeps Jinja from evaluating constants at compile time.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[GenerationTag, LoopControlExtension],
            finalize=_charge_output,
            optimized=False,
        )
        filters = {name: self.filters[name] for name in FILTERS} | {"tojson": tojson}
        self.filters = {name: metered_filter(name, function) for name, function in filters.items()}
        self.tests = {name: metered_test(cast(Any, test)) for name, test in self.tests.items()}
        self.globals = {
            "range": safe_range,
            "dict": PlainDict(),
            "namespace": PlainNamespace,
            "cycler": Cycler,
            "joiner": Joiner,
            "raise_exception": raise_exception,
            "strftime_now": strftime_now,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = Metering().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        return TokenStream(self._ticking(super()._tokenize(source, name, filename, state)), name, filename)

    def _ticking(self, tokens: Iterable[Token]) -> Iterator[Token]:
        for token in tokens:
            BUDGET.get().tick()
            yield token

    def _compile(self, source: str, filename: str) -> CodeType:
        # Python's own compiler cannot be interrupted, so it gets no more than it does in a second.
        BUDGET.get().check(len(source))
        return super()._compile(source, filename)

    # What the rewritten tree calls.

    def spend(self, cost: int) -> bool:
        BUDGET.get().tick(cost)
        return True

    def passed(self, value: Any) -> Any:
        BUDGET.get().tick()
        return value

    def weighed(self, value: Any) -> Any:
        BUDGET.get().weigh(value)
        return value

    def concatenated(self, *parts: Any) -> str:
        BUDGET.get().weigh(parts)
        return "".join(map(str, parts))

    def sliced(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        return BUDGET.get().made(value[start:stop:step])

    # What Jinja's compiled code calls.

    def getitem(self, obj: Any, argument: Any) -> Any:
        BUDGET.get().tick()
        return super().getitem(obj, argument)

    def getattr(self, obj: Any, attribute: str) -> Any:
        BUDGET.get().tick()
        return super().getattr(obj, attribute)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        run = super().wrap_str_format(value)
        return None if run is None else BoundedFormat(value.__self__, run)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_binop(operator, left, right)
        return BUDGET.get().made(self.binop_table[operator](left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        if isinstance(__obj, MethodType) and __obj.__self__ is __self:
            return __obj(*args)  # one of the functions the rewritten tree calls
        budget = BUDGET.get()
        shown = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
        budget.weigh((args, shown))
        check_call(__self.globals, __obj, args, shown)
        return budget.made(super().call(__context, __obj, *args, **kwargs))
