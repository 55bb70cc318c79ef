"""Speculation, with the check's cost from the roofline: a step reads for 100 ms, a row computes for 20 ms."""

from __future__ import annotations

import pytest

from nearlight.limits.speculation import best_speculation, speculation
from nearlight.limits.thinking import thinking_cost
from tests.limits.machines import MACHINE, LinearCosts

COSTS = LinearCosts()


def test_check_costs_nothing_while_rows_wait_for_memory():
    four = speculation(COSTS, MACHINE, context=0, n_draft=4)
    assert four.verify_cost == pytest.approx(1.0)
    assert four.speedup(0.5) == pytest.approx(1 + 0.5 + 0.25 + 0.125 + 0.0625)


def test_check_costs_more_once_computing_bounds():
    nine = speculation(COSTS, MACHINE, context=0, n_draft=9)
    assert nine.verify_cost == pytest.approx(10 * 0.02 / 0.1)
    assert nine.speedup(1.0) == pytest.approx(5.0)


def test_break_even_is_where_the_speedup_is_one():
    nine = speculation(COSTS, MACHINE, context=0, n_draft=9, draft_cost=0.1)
    assert nine.break_even is not None
    assert nine.speedup(nine.break_even) == pytest.approx(1.0, abs=1e-4)


def test_drafting_that_never_pays_has_no_break_even():
    assert speculation(COSTS, MACHINE, context=0, n_draft=2, draft_cost=1.1).break_even is None


def test_best_number_of_drafts_weighs_guesses_against_the_check():
    assert best_speculation(COSTS, MACHINE, 0, acceptance=0.9).n_draft == 4
    assert best_speculation(COSTS, MACHINE, 0, acceptance=0.9, draft_cost=1.0).n_draft == 0
    many = best_speculation(COSTS, MACHINE, 0, acceptance=0.99)
    assert many.speedup(0.99) > 4.5


def test_thinking_costs_its_tokens_and_longer_context_after():
    thinking = thinking_cost(COSTS, MACHINE, n_prompt=1000, n_tokens=500)
    assert thinking.delay_s == pytest.approx(sum(0.1 + (1000 + i + 0.5) * 1e-5 for i in range(500)), rel=1e-9)
    assert thinking.kv_bytes == 500e6
    assert thinking.added_tpot_s == pytest.approx(0.005)
