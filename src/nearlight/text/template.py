"""Chat templates: from messages to the text of a prompt, byte for byte as transformers' apply_chat_template.

A template is a program that came with the model, so rendering has a deadline and a cap on what it makes (see sandbox).
Jinja2 is imported when a template is first rendered.

Source: transformers 5.23 apply_chat_template and render_jinja_template.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from nearlight.errors import TextError
from nearlight.text.once import Once
from nearlight.text.switches import Think, variables_of, with_command

if TYPE_CHECKING:
    import jinja2

Message = Mapping[str, Any]
_Made = TypeVar("_Made")

SECONDS = 2.0  # and as much again for each million characters of messages
VALUE_LIMIT = 1_000_000  # plus VALUE_LIMIT_PER_INPUT for each character of messages
VALUE_LIMIT_PER_INPUT = 20
SOURCE_LIMIT = 250_000
_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_OPEN_END = "<<nearlight: the message goes on here>> "


class ChatTemplate:
    """A package's chat template, ready to render.

    `special_tokens` maps "bos_token", … to their text, which templates write themselves. `seconds` by `clock` is how
    long compiling and rendering may take each.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        *,
        seconds: float = SECONDS,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.source = source
        self.special_tokens = dict(special_tokens or {})
        self._seconds = seconds
        self._clock = clock
        self._compiled = Once(self._compile)
        self._read = Once(self._find_variables)

    def compile(self) -> None:
        """Compile the template; the first rendering would do so too. Raises: TextError for one that is wrong."""
        self._compiled.get()

    @property
    def variables(self) -> frozenset[str]:
        """The names that the template reads from outside. Raises: TextError for one that is wrong."""
        return self._read.get()

    def _compile(self) -> jinja2.Template:
        from nearlight.text.sandbox import BoundedEnvironment

        return self._within_budget(lambda: BoundedEnvironment().from_string(self.source))

    def _find_variables(self) -> frozenset[str]:
        from jinja2.meta import find_undeclared_variables

        from nearlight.text.sandbox import BoundedEnvironment

        return self._within_budget(
            lambda: frozenset(find_undeclared_variables(BoundedEnvironment().parse(self.source)))
        )

    def _within_budget(self, make: Callable[[], _Made]) -> _Made:
        from jinja2 import TemplateSyntaxError

        from nearlight.text.budget import Budget, BudgetExceeded
        from nearlight.text.template_calls import BUDGET

        if len(self.source) > SOURCE_LIMIT:
            raise _error("is too long", expected=f"at most {SOURCE_LIMIT} characters", found=len(self.source))
        token = BUDGET.set(Budget(VALUE_LIMIT, self._seconds, self._clock))
        try:
            return make()
        except BudgetExceeded as error:
            raise _error(f"is given up while compiling because {error}") from None
        except TemplateSyntaxError as error:
            raise _error(f"line {error.lineno}: {error.message}") from None
        except (RecursionError, MemoryError):
            raise _error("is nested too deeply to compile") from None
        except (SyntaxError, ValueError, OverflowError) as error:
            raise _error("cannot be compiled", found=error) from None
        finally:
            BUDGET.reset(token)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        think: Think = None,
        **variables: Any,
    ) -> str:
        """Render messages into a prompt.

        `tools` are JSON schemas. `continue_final_message` leaves the last message open, for the model to go on with;
        no generation prompt is added then. `think` is told in whatever way the template can be told; `variables` reach
        it by name (`enable_thinking`, …).
        Raises: TextError in one line: a template that is wrong, refuses the messages, or exceeds its time or size;
        RequestError for a level of thinking where the template knows none.
        """
        if not messages:
            raise _error("needs at least one message")
        if think is not None:
            variables = variables_of(think, self.variables, self.source) | variables
            messages = with_command(messages, think, self.variables, self.source)
        try:
            chat = [_prepared(message) for message in messages]
            data = _plain({"tools": tools, "documents": documents, **self.special_tokens, **variables})
        except RecursionError:
            raise _error("messages are nested too deeply") from None
        final = _open_end(chat[-1]) if continue_final_message else ""
        data |= {
            "messages": chat,
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
        }
        rendered = self._run(data)
        return _cut_at_open_end(rendered, final) if continue_final_message else rendered

    def _run(self, data: dict[str, Any]) -> str:
        from jinja2 import TemplateError

        from nearlight.text.budget import Budget, BudgetExceeded, tree_size
        from nearlight.text.sandbox import TemplateRefusal
        from nearlight.text.template_calls import BUDGET

        template = self._compiled.get()
        given = tree_size(data, math.inf)
        limit = VALUE_LIMIT + VALUE_LIMIT_PER_INPUT * given
        budget = Budget(limit, self._seconds * (1 + given / VALUE_LIMIT), self._clock)
        token = BUDGET.set(budget)
        try:
            pieces: list[str] = []
            size = 0
            for piece in template.root_render_func(template.new_context(data)):
                size += len(piece)
                budget.check(size)
                pieces.append(piece)
            return "".join(pieces)
        except BudgetExceeded as error:
            raise _error(f"{_line(template, error)}is stopped because {error}") from None
        except RecursionError:
            raise _error("is stopped because it recurses without end") from None
        except TemplateRefusal as error:
            raise _error("refuses these messages", found=_short(error)) from None
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise _error(f"{_line(template, error)}fails", found=_short(error)) from None
        except MemoryError:
            raise _error("is stopped because memory ran out") from None
        finally:
            BUDGET.reset(token)


def select_template(templates: Mapping[str, str], *, name: str | None = None, tools: bool = False) -> str | None:
    """Choose among a package's named templates: by name, "tool_use" where tools are given, else "default".

    Raises: TextError for a name the package lacks.
    """
    if name is not None:
        if name not in templates:
            raise TextError("chat template", expected=f"one of {', '.join(sorted(templates)) or 'none'}", found=name)
        return templates[name]
    if tools and "tool_use" in templates:
        return templates["tool_use"]
    if "default" in templates:
        return templates["default"]
    return next(iter(templates.values()), None)


def is_chat_model(templates: Mapping[str, str]) -> bool:
    """Whether a package chats (it has a chat template) or only completes."""
    return bool(templates)


def _error(what: str, **parts: Any) -> TextError:
    return TextError(what, where="chat template", **parts)


def _short(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "…"


def _line(template: jinja2.Template, error: BaseException) -> str:
    """Name the template's line an error came from, innermost first."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == (template.filename or "<template>"):
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return "" if line is None else f"line {line}: "


def _prepared(message: Message) -> dict[str, Any]:
    """Copy a message as templates get it: plain data, no null values, the reasoning under each of its names."""
    if not isinstance(message, Mapping):
        raise _error("message", expected="an object with role and content", found=type(message).__name__)
    plain: dict[str, Any] = _plain({key: value for key, value in message.items() if value is not None})
    reasoning = next((plain[key] for key in _REASONING_KEYS if plain.get(key) is not None), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """Rebuild a value out of JSON's types: other objects have methods the sandbox does not know."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return f"<{type(value).__name__}>"


def _open_end(message: dict[str, Any]) -> str:
    """Mark the end of a message's text, so that the rendered prompt can be cut there; return the text."""
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = content + _OPEN_END
        return content
    for block in reversed(content if isinstance(content, list) else []):
        if isinstance(block, dict) and isinstance(block.get("text"), str):
            text: str = block["text"]
            block["text"] = text + _OPEN_END
            return text
    raise _error("the final message has no text to continue")


def _cut_at_open_end(rendered: str, final: str) -> str:
    mark = rendered.rfind(_OPEN_END.strip())
    if mark < 0 or final.strip() not in rendered:
        raise _error("drops the text of the final message, so it cannot be continued")
    kept = rendered[:mark]
    # Where the template trimmed the mark's own trailing space, it would have trimmed the message's as well.
    return kept if rendered.startswith(_OPEN_END, mark) else kept.rstrip()
