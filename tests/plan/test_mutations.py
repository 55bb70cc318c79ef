"""Deliberate faults in the formulas: each must turn a named check red.

The checks are ordinary tests of this suite. A fault that no check notices would be a hole in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nearlight.counting import counted_model
from nearlight.dtypes import Format
from nearlight.kernels.count import CPU_TARGETS, CountOps, Target
from nearlight.kernels.count.rows import Visible
from nearlight.limits import roofline, speculation
from nearlight.limits.convention import BlogCost, BlogCosts, BlogShape
from nearlight.limits.hardware import Hardware
from nearlight.plan import planner
from tests.counting import test_counted_model
from tests.kernels import test_count
from tests.limits import test_roofline, test_speculation
from tests.plan import test_plan, test_published

Fault = Callable[[pytest.MonkeyPatch], None]


def query_heads_for_kv_heads(patch: pytest.MonkeyPatch) -> None:
    original = CountOps.kv_store

    def kv_store(ops: CountOps, n_kv_heads: int, head_dim: int, format: Format) -> Any:
        store = original(ops, n_kv_heads, head_dim, format)
        store.token_bytes *= 3  # 6 query heads share 2 key heads
        return store

    patch.setattr(CountOps, "kv_store", kv_store)


def head_counted_twice(patch: pytest.MonkeyPatch) -> None:
    original = CountOps.linear

    def linear(ops: CountOps, x: Any, weight: Any, bias: Any = None) -> Any:
        if weight.name == "lm_head.weight":
            original(ops, x, weight, bias)
        return original(ops, x, weight, bias)

    patch.setattr(CountOps, "linear", linear)


def head_on_every_row(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(CountOps, "take", lambda ops, x, indices: x)


def tied_head_not_counted(patch: pytest.MonkeyPatch) -> None:
    original = CountOps.linear

    def linear(ops: CountOps, x: Any, weight: Any, bias: Any = None) -> Any:
        result = original(ops, x, weight, bias)
        if "embed" in weight.name:
            ops.cost.ops.pop()
        return result

    patch.setattr(CountOps, "linear", linear)


def embedding_read_whole(patch: pytest.MonkeyPatch) -> None:
    original = CountOps.embed

    def embed(ops: CountOps, table: Any, *arguments: Any) -> Any:
        result = original(ops, table, *arguments)
        ops.cost.ops[-1] = replace(ops.cost.ops[-1], weight_bytes=table.n_bytes)
        return result

    patch.setattr(CountOps, "embed", embed)


def window_ignored(patch: pytest.MonkeyPatch) -> None:
    original = Visible._counts
    patch.setattr(Visible, "_counts", lambda visible, window, chunked: original(visible, None, False))


def causal_half_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Visible, "pairs", lambda visible, *_: visible.n_rows * int(visible._seen.max()))


def keys_read_twice(patch: pytest.MonkeyPatch) -> None:
    original = Visible.tokens
    patch.setattr(Visible, "tokens", lambda visible, *seen: 2 * original(visible, *seen))


def keys_of_a_batch_read_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Visible, "tokens", lambda visible, *_: int(visible._seen.max()))


def scales_forgotten(patch: pytest.MonkeyPatch) -> None:
    bits = {"Q8_0": 8, "Q6_K": 6, "Q4_0": 4}
    original = Target.matrix_bytes

    def matrix_bytes(target: Target, format: Format, n_out: int, n_in: int) -> int:
        if format.name in bits:
            return n_out * n_in * bits[format.name] // 8
        return original(target, format, n_out, n_in)

    patch.setattr(Target, "matrix_bytes", matrix_bytes)


def tiles_not_padded(patch: pytest.MonkeyPatch) -> None:
    for isa, target in CPU_TARGETS.items():
        patch.setitem(CPU_TARGETS, isa, replace(target, tile_rows=1))


def multiplication_counted_as_one_operation(patch: pytest.MonkeyPatch) -> None:
    original = CountOps.linear

    def linear(ops: CountOps, x: Any, weight: Any, bias: Any = None) -> Any:
        result = original(ops, x, weight, bias)
        op = ops.cost.ops[-1]
        halved = {data_type: count // 2 for data_type, count in op.operations.items()}
        ops.cost.ops[-1] = replace(op, operations=halved)
        return result

    patch.setattr(CountOps, "linear", linear)


def binary_units_by_default(patch: pytest.MonkeyPatch) -> None:
    original = planner.find_hardware
    patch.setattr(planner, "find_hardware", lambda name: original(name).in_binary_units())


def decimal_units_in_the_blog(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hardware, "in_binary_units", lambda hardware: hardware)


def groups_ignored_in_largest_context(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BlogShape, "kv", property(lambda shape: 2 * shape.n_layers * shape.hidden_size))


def blog_keys_only_written(patch: pytest.MonkeyPatch) -> None:
    original = BlogCosts.prompt

    def prompt(costs: BlogCosts, n_prompt: float, head_rows: float = 1) -> BlogCost:
        return replace(original(costs, n_prompt, head_rows), bytes_read=costs.weight_bytes)

    patch.setattr(BlogCosts, "prompt", prompt)


def blog_keys_read_twice_in_decode(patch: pytest.MonkeyPatch) -> None:
    original = BlogCosts.decode

    def decode(costs: BlogCosts, context: int, batch: int = 1) -> BlogCost:
        return original(costs, 2 * context, batch)

    patch.setattr(BlogCosts, "decode", decode)


def written_bytes_free(patch: pytest.MonkeyPatch) -> None:
    original = roofline.step_time

    def step_time(cost: Any, hardware: Hardware) -> Any:
        time = original(cost, hardware)
        read_s = cost.bytes_read / hardware.bytes_per_s
        return replace(time, read_s=read_s, total_s=max(read_s, time.compute_s))

    for module in (roofline, planner, test_roofline):
        patch.setattr(module, "step_time", step_time)


def check_of_drafts_free(patch: pytest.MonkeyPatch) -> None:
    original = speculation.Speculation.speedup

    def speedup(drafting: speculation.Speculation, acceptance: float) -> float:
        return original(replace(drafting, verify_cost=1.0), acceptance)

    patch.setattr(speculation.Speculation, "speedup", speedup)


def prompt_rows_from_position_zero(patch: pytest.MonkeyPatch) -> None:
    original = counted_model._rows
    patch.setattr(
        counted_model, "_rows", lambda spans, all_logits: original([replace(s, start=0) for s in spans], all_logits)
    )


FAULTS: list[tuple[Fault, Callable[[], None]]] = [
    (query_heads_for_kv_heads, test_count.test_attention_reads_keys_and_values_of_key_heads_once),
    (head_counted_twice, test_count.test_decode_reads_every_matrix_once_and_looks_one_embedding_row_up),
    (head_on_every_row, test_count.test_head_works_on_the_last_row_only),
    (tied_head_not_counted, test_count.test_tied_head_is_read_from_the_embedding),
    (embedding_read_whole, test_count.test_decode_reads_every_matrix_once_and_looks_one_embedding_row_up),
    (window_ignored, test_count.test_window_caps_what_is_seen_and_read),
    (causal_half_forgotten, test_count.test_prompt_attends_over_its_causal_half),
    (keys_read_twice, test_count.test_attention_reads_keys_and_values_of_key_heads_once),
    (keys_of_a_batch_read_once, test_count.test_batch_reads_weights_once_and_every_sequence_of_keys),
    (scales_forgotten, test_count.test_blocks_are_counted_with_their_scales),
    (tiles_not_padded, test_counted_model.test_packed_tiles_are_counted),
    (multiplication_counted_as_one_operation, test_count.test_operations_of_products_are_two_for_every_weight_and_row),
    (binary_units_by_default, test_plan.test_plan_by_hand),
    (decimal_units_in_the_blog, test_published.test_time_to_first_token_in_binary_units),
    (groups_ignored_in_largest_context, test_published.test_tokens_that_fit_beside_grouped_keys),
    (blog_keys_only_written, test_published.test_inflection_with_keys_written_and_read),
    (blog_keys_read_twice_in_decode, test_published.test_decode_line_reads_keys_once),
    (written_bytes_free, test_plan.test_plan_by_hand),
    (check_of_drafts_free, test_speculation.test_check_costs_more_once_computing_bounds),
    (prompt_rows_from_position_zero, test_count.test_chunks_attend_over_as_much_as_the_whole_prompt),
]


@pytest.mark.parametrize(("fault", "check"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_fault_is_noticed(fault: Fault, check: Callable[[], None], monkeypatch: pytest.MonkeyPatch):
    test_published.plan.cache_clear()
    check()
    test_published.plan.cache_clear()
    with monkeypatch.context() as patch:
        fault(patch)
        with pytest.raises(AssertionError):
            check()
    test_published.plan.cache_clear()
