"""Templates that loop, recurse, or print without end: each ends soon, in one line, in little memory."""

from __future__ import annotations

import itertools
import resource
from pathlib import Path

import pytest

from nearlight.errors import TextError
from nearlight.text.template import ChatTemplate

USER = [{"role": "user", "content": "hi"}]
LONG = "{% set a = 'a' * 900000 %}"
DOUBLING = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = {} %}{% endfor %}{{ ns.x }}"

ATTACKS = {
    "range": "{% for i in range(10**9) %}x{% endfor %}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops printing": "{% for i in range(99999) %}{% for j in range(99999) %}word {% endfor %}{% endfor %}",
    "loops over a string": LONG + "{% for i in a %}{% for j in a %}{% endfor %}{% endfor %}",
    "loop filter": LONG + "{% for i in a %}{% for j in a if false %}{% endfor %}{% endfor %}",
    "loop length": LONG + "{% for i in a %}{% for j in a if j %}{{ loop.length }}{% endfor %}{% endfor %}",
    "recursive loop": "{% for i in [1] recursive %}{{ loop([i]) }}{% endfor %}",
    "macro recursion": "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "macro tree": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "macro text": "{% macro m() %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endmacro %}{{ m() }}",
    "caller": "{% macro m() %}{% for i in range(99999) %}{{ caller() }}{% endfor %}{% endmacro %}"
    "{% call m() %}" + "x" * 9999 + "{% endcall %}",
    "set block": "{% set x %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endset %}{{ x }}",
    "filter block": "{% filter upper %}{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endfilter %}",
    "string times": "{{ 'a' * 10**9 }}",
    "times string": "{{ 10**9 * 'a' }}",
    "list times": "{{ [0] * 10**9 }}",
    "times again": "{% set a = 'a' * 100000 %}{{ (a * 9) * 100000 }}",
    "power": "{{ 10**(10**8) }}",
    "product of powers": DOUBLING.replace("'ab'", "10**1000").replace("{}", "ns.x * ns.x"),
    "shift of power": "{{ (2**8000) * (2**8000) }}",
    "format width": "{{ '%1000000000s' % 'x' }}",
    "format star": "{{ '%*d' % (10**9, 1) }}",
    "format precision": "{{ '%.1000000000f' % 1.0 }}",
    "format many": LONG + "{{ ('%s' * 300000) % ((a,) * 300000) }}",
    "format filter": "{{ '%1000000000s' | format('x') }}",
    "format method": "{{ '{:1000000000}'.format(1) }}",
    "format nested": "{{ '{:{w}}'.format(1, w=10**9) }}",
    "format repeated": LONG + "{{ ('{0}' * 1000).format(a) }}",
    "format map": LONG + "{{ ('{a}' * 1000).format_map({'a': a}) }}",
    "plus doubling": DOUBLING.replace("{}", "ns.x + ns.x"),
    "tilde doubling": DOUBLING.replace("{}", "ns.x ~ ns.x"),
    "tilde wide": LONG + "{{ " + " ~ ".join(["a"] * 9000) + " }}",
    "list doubling": DOUBLING.replace("'ab'", "[1]").replace("{}", "ns.x + ns.x"),
    "list nesting": DOUBLING.replace("{}", "[ns.x, ns.x]"),
    "dict nesting": DOUBLING.replace("{}", "{'a': ns.x, 'b': ns.x}"),
    "dict call nesting": DOUBLING.replace("{}", "dict(a=ns.x, b=ns.x)"),
    "tuple hashing": DOUBLING.replace("{}", "(ns.x, ns.x)") + "{{ {ns.x: 1} }}",
    "equal trees": "{% macro t(n, a, b) %}{% if n %}{{ t(n-1, varargs, kwargs) }}{% else %}{{ a == b }}{% endif %}"
    "{% endmacro %}" + DOUBLING.replace("{}", "[ns.x, [ns.x]]"),
    "namespace cycle": "{% set ns = namespace() %}{% set ns.x = [ns, ns] %}{{ ns }}{{ ns.x }}{{ ns.x | tojson }}",
    "namespace top down": "{% set a = namespace() %}"
    + "".join(f"{{% set n{i} = namespace() %}}" for i in range(50))
    + "".join(f"{{% set n{i}.x = [n{i + 1}, n{i + 1}] %}}" for i in range(49))
    + "{{ n0 | string }}",
    "join": LONG + "{{ range(99999) | join(a) }}",
    "join method": LONG + "{{ a.join('x' * 99999) }}",
    "join of map": LONG + "{{ range(99999) | map('center', 99999) | join }}",
    "replace": "{{ ('a' * 9999).replace('a', 'b' * 9999) }}",
    "replace empty": "{{ ('a' * 9999) | replace('', 'b' * 9999) }}",
    "replace search": LONG + "{{ a.replace('b' ~ 'a' * 400000, '') }}",
    "rfind": LONG + "{{ a.rfind('ab' ~ 'a' * 400000) }}",
    "strip": LONG + "{{ a.strip('b' * 400000 ~ 'a') }}",
    "center": "{{ 'a' | center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "expandtabs": "{{ ('\t' * 9999).expandtabs(10**6) }}",
    "indent": "{{ ('a\n' * 9999) | indent(10**6) }}",
    "indent text": "{{ ('a\n' * 9999) | indent('x' * 99999) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "batch fill": LONG + "{{ ([1] | batch(9999, a) | list) | string }}",
    "slice": "{{ [1] | slice(10**9, 'x') | list }}",
    "tojson indent": "{{ [1] | tojson(indent=10**9) }}",
    "tojson deep": "{{ ([[[[[[1]]]]]] * 9999) | tojson(indent=999) }}",
    "tojson separators": "{{ ([1] * 9999) | tojson(separators=('x' * 99999, ':')) }}",
    "round": "{{ 1.5 | round(10**9, 'ceil') }}",
    "sum": "{{ ([[1] * 1000] * 900) | sum(start=[]) }}",
    "integer text": "{{ ('9' * 900000) | int }}",
    "hexadecimal text": "{{ ('f' * 900000) | int(0, 16) }}",
    "attribute path": LONG + "{{ range(99999) | map(attribute='a.' * 99999) | list }}",
    "translate": "{{ 'a'.translate({97: 'x' * 99999}) }}",
    "to bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "lipsum": "{{ lipsum(n=10**9) }}",
    "urlize": LONG + "{{ a | urlize }}",
    "wordwrap": LONG + "{{ a | wordwrap(1) }}",
    "compare chain": "{% set a = ['x' * 9] * 90000 %}{% set b = ['x' * 9] * 90000 %}"
    + "{% if "
    + " and ".join(["a == b"] * 3000)
    + " %}{% endif %}",
    "straight line": LONG + "{% set b = a[1:] %}" * 9000,
    "literal text": "x" * 200_000 + "{% for i in range(99999) %}" + "y" * 40_000 + "{% endfor %}",
    "sort": "{% for i in range(9999) %}{% set x = range(99999) | sort(reverse=true) %}{% endfor %}",
    "groupby": "{% for i in range(9999) %}{% set x = range(99999) | groupby('real') %}{% endfor %}",
    "deep parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "deep loops": "{% for i in [1] %}" * 60 + "{% endfor %}" * 60,
    "deep list": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "long integer": "{{ " + "9" * 100_000 + " }}",
    "many expressions": "{{ 'a' | upper }}" * 14_000 + "{% for i in range(10**9) %}{% endfor %}",
}


@pytest.fixture
def little_memory():
    """Let the process have 500 MB more than it has, so that whoever asks for more gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 500_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attacks_end_in_one_line(name, little_memory):
    clock = itertools.count().__next__  # so the deadline is a number of operations; those of sorting are the longest
    template = ChatTemplate(ATTACKS[name], seconds=100 if name == "sort" else 20_000, clock=clock)
    with pytest.raises(TextError) as caught:
        template.render(USER)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "memory ran out" not in str(caught.value)
    assert not isinstance(caught.value.__context__, MemoryError)


def test_honest_templates_have_room_to_spare():
    turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": "word " * 40} for i in range(400)]
    source = (
        "{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text + m.role + ': ' + "
        "m.content | trim + '\\n' %}{% if loop.index0 == messages | length - 1 %}!{% endif %}{% endfor %}{{ ns.text }}"
    )
    assert len(ChatTemplate(source).render(turns)) > 400 * 200
