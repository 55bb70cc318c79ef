"""The counting kernels against hand calculations on a small llama: V 103, M 42, F 75, L 3, H 6, K 2, D 14."""

from __future__ import annotations

import numpy as np
import pytest

from nearlight.counting.counted_model import Span, shape_tensor
from nearlight.dtypes import ALL, BF16, F16, F32, Q4_0, Q4_K, Q6_K, Q8_0
from nearlight.engine.engine import Engine
from nearlight.errors import RequestError, ShapeError
from nearlight.kernels.count import ACCELERATOR, CPU_TARGETS, CountOps, cpu_target
from nearlight.kernels.ops import Rows
from nearlight.layers.attention import Attention
from nearlight.layers.parameters import Parameter
from nearlight.layers.shared_kv import SharedAttention
from nearlight.models import build_model
from nearlight.package.tensors import StoredTensor
from tests.kernels.counted_models import CONFIGS, LLAMA, D, F, H, K, L, M, V, counted

LAYER_MATRICES = M * H * D * 2 + M * K * D * 2 + 3 * M * F
NORMS = (2 * L + 1) * M


def rows(positions: list[int], sequences: list[int] | None = None) -> Rows:
    n = len(positions)
    return Rows(np.zeros(n, np.int32), np.array(positions), np.array(sequences or [0] * n), np.array([n - 1]))


def test_decode_reads_every_matrix_once_and_looks_one_embedding_row_up():
    step = counted(LLAMA).decode(0)
    assert step.weight_bytes == 4 * (L * LAYER_MATRICES + NORMS + V * M + M)


def test_tied_head_is_read_from_the_embedding():
    untied, tied = counted(LLAMA).decode(5), counted(LLAMA | {"tie_word_embeddings": True}).decode(5)
    assert tied.weight_bytes == untied.weight_bytes
    assert tied.by_name()["model.embed_tokens.weight"].weight_bytes == 4 * (V * M + M)


def test_operations_of_products_are_two_for_every_weight_and_row():
    products = counted(LLAMA).prefill(7)[0].by_kind()["linear"]
    assert products.operations == {"fp32": 2 * (7 * L * LAYER_MATRICES + V * M)}


def test_head_works_on_the_last_row_only():
    assert counted(LLAMA).prefill(7)[0].by_name()["lm_head.weight"].operations == {"fp32": 2 * V * M}


def test_chunks_before_the_last_leave_the_head_out():
    first, last = counted(LLAMA).prefill(11, chunk=7)
    assert first.by_name()["lm_head.weight"].bytes_read == 0
    assert last.by_name()["lm_head.weight"].bytes_read == 4 * V * M


def test_attention_reads_keys_and_values_of_key_heads_once():
    attention = counted(LLAMA).decode(11).by_kind()
    assert attention["attend"].kv_read_bytes == L * 12 * 2 * K * D * 2
    assert attention["append"].bytes_written == L * 1 * 2 * K * D * 2


def test_prompt_attends_over_its_causal_half():
    attention = counted(LLAMA).prefill(7)[0].by_kind()["attend"]
    pairs = 7 * 8 // 2
    assert attention.operations["bf16"] == L * pairs * 4 * H * D


def test_chunks_attend_over_as_much_as_the_whole_prompt():
    model = counted(LLAMA)
    chunks = [step.by_kind()["attend"].operations["bf16"] for step in model.prefill(64, chunk=10)]
    assert sum(chunks) == model.prefill(64)[0].by_kind()["attend"].operations["bf16"]


def test_batch_reads_weights_once_and_every_sequence_of_keys():
    one, five = counted(LLAMA).decode(20), counted(LLAMA).decode(20, batch=5)
    assert five.kv_read_bytes == 5 * one.kv_read_bytes
    assert five.weight_bytes - one.weight_bytes == 4 * 4 * M  # four more rows looked up


def test_rows_of_several_sequences_see_their_own():
    attention = counted(LLAMA).step([Span(3, 2), Span(0, 5)]).by_kind()["attend"]
    assert attention.operations["bf16"] == L * (4 + 5 + 15) * 4 * H * D
    assert attention.kv_read_bytes == L * (5 + 5) * 2 * K * D * 2


def test_window_caps_what_is_seen_and_read():
    ops = CountOps()
    store = ops.kv_store(K, D, F16)
    store.reserve(0, 64)
    assert store.n_bytes == 64 * 2 * K * D * 2  # kept, in case a sequence is cut back
    q, kv = (counted_activation(ops, 3, heads * D) for heads in (H, K))
    ops.append(kv, kv, store, rows([3, 4, 5]))
    ops.attend(q, store, rows([3, 4, 5]), scale=1.0, window=5)
    attention = ops.cost.by_kind()["attend"]
    assert attention.operations["bf16"] == (4 + 5 + 5) * 4 * H * D
    assert attention.kv_read_bytes == 6 * 2 * K * D * 2  # positions 0 … 5: the first row still sees 0


def test_chunks_begin_anew():
    ops = CountOps()
    store = ops.kv_store(K, D, F16)
    store.reserve(0, 64)
    q, kv = (counted_activation(ops, 4, heads * D) for heads in (H, K))
    ops.append(kv, kv, store, rows([8, 9, 10, 11]))
    ops.attend(q, store, rows([8, 9, 10, 11]), scale=1.0, window=5, chunked=True)
    attention = ops.cost.by_kind()["attend"]
    assert attention.operations["bf16"] == (4 + 5 + 1 + 2) * 4 * H * D
    assert attention.kv_read_bytes == 7 * 2 * K * D * 2  # positions 5 … 11


def test_windows_of_a_config_cap_what_decoding_reads():
    windowed = counted(LLAMA | {"sliding_window": 5, "use_sliding_window": True})
    assert windowed.decode(3).kv_read_bytes == L * 4 * 2 * K * D * 2
    assert windowed.decode(20).kv_read_bytes == L * 5 * 2 * K * D * 2
    assert windowed.decode(20).kv_read_bytes < counted(LLAMA).decode(20).kv_read_bytes


def test_eight_bit_caches_are_counted_as_they_are_kept_and_multiplied():
    """Of a key 14 codes in fours and a scale; of a value 14 codes in a vector and a scale; weights in two planes."""
    token_bytes = K * (16 + 2 + 16 + 2)
    attention = counted(LLAMA, kv_format=Q8_0, target=cpu_target()).decode(11).by_kind()["attend"]
    assert attention.kv_read_bytes == L * 12 * token_bytes
    assert attention.operations["int8"] == L * 12 * 6 * H * D
    elsewhere = counted(LLAMA, kv_format=Q8_0).decode(11).by_kind()["attend"]
    assert elsewhere.kv_read_bytes == L * 12 * 2 * K * 34
    assert elsewhere.operations["bf16"] == L * 12 * 4 * H * D


@pytest.mark.parametrize(("kv", "data_type"), [(F16, "int16"), (F32, "fp32"), (Q8_0, "int8")])
def test_attention_is_counted_in_the_type_it_is_multiplied_in(kv, data_type):
    for start in (0, 300):
        model = counted(LLAMA, Q4_0, kv_format=kv, target=cpu_target())
        attention = model.step([Span(start, 3)]).by_kind()["attend"]
        assert attention.operations[data_type] >= L * 4 * H * D * 3 * start


def test_sinks_are_read_and_as_many_as_heads():
    ops = CountOps()
    q = counted_activation(ops, 3, H * D)
    for n in (H, H + 1):
        sinks = ops.vector(StoredTensor("sinks", F32, (n,), lambda: np.zeros((0, 0), np.uint8)))
        if n == H:
            ops.attend(q, ops.kv_store(K, D, F16), rows([0, 1, 2]), scale=1.0, sinks=sinks)
            assert ops.cost.by_kind()["attend"].weight_bytes == 4 * H
        else:
            with pytest.raises(ShapeError, match="sinks: expected 6, found 7"):
                ops.attend(q, ops.kv_store(K, D, F16), rows([0, 1, 2]), scale=1.0, sinks=sinks)


def counted_activation(ops: CountOps, n_rows: int, width: int):
    table = ops.matrix(StoredTensor("table", F32, (V, width), lambda: np.zeros((0, 0), np.uint8)))
    return ops.embed(table, np.zeros(n_rows, np.int32))


@pytest.mark.parametrize(
    ("format", "bits"), [(F32, 32), (BF16, 16), (Q8_0, 8.5), (Q6_K, 6.5625), (Q4_0, 4.5), (Q4_K, 4.5)], ids=str
)
def test_matrices_take_their_true_bits_with_scales(format, bits):
    assert ACCELERATOR.matrix_bytes(format, 7, 512) == 7 * 512 * bits / 8


def test_blocks_are_counted_with_their_scales():
    for format, bits in ((Q8_0, 8.5), (Q6_K, 6.5625), (Q4_0, 4.5)):
        test_matrices_take_their_true_bits_with_scales(format, bits)


def test_partly_filled_blocks_and_tiles_are_counted_whole():
    assert ACCELERATOR.matrix_bytes(Q4_0, 7, 42) == 7 * 2 * 18
    assert cpu_target().matrix_bytes(Q4_0, 17, 42) == 32 * 2 * 18
    assert cpu_target().matrix_bytes(BF16, 17, 43) == 32 * 44 * 2


def test_every_format_is_multiplied_in_a_known_type():
    types = {format.name: cpu_target("avx512").multiplied_in(format) for format in ALL}
    assert {name for name, kind in types.items() if kind == "fp32"} == {"F32", "F16"}
    assert {name for name, kind in types.items() if kind == "bf16"} == {"BF16"}
    assert cpu_target("avx2").multiplied_in(BF16) == "fp32"
    assert set(types.values()) == {"fp32", "bf16", "int8"}


def test_unknown_instruction_level_is_refused():
    with pytest.raises(RequestError, match="instruction level: expected one of avx512, avx2, plain, found 'sse'"):
        cpu_target("sse")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("target", [ACCELERATOR, *CPU_TARGETS.values()], ids=lambda target: target.name)
def test_every_family_is_counted(name, target):
    model = counted(CONFIGS[name], Q8_0, target=target)
    short, long = model.decode(3), model.decode(300)
    read = [layer.kv for layer in model.model.declared((Attention, SharedAttention))]  # some by several layers
    per_token = sum(target.kv_token_bytes(kv.n_kv_heads, kv.head_dim, F16) for kv in read)
    assert long.bytes_read - short.bytes_read == 297 * per_token
    assert per_token >= model.kv_bytes_per_token
    assert model.step([Span(0, 5)], all_logits=True).operations["int8"] > 5 * short.operations["int8"] * 0.9


def test_parameters_are_counted_where_they_are():
    counts = counted(LLAMA).parameters
    assert (counts.embedding, counts.lm_head) == (V * M, V * M)
    assert counts.layers == L * LAYER_MATRICES + NORMS
    assert counts.total == counts.active == counts.embedding + counts.layers + counts.lm_head
    assert counted(LLAMA | {"tie_word_embeddings": True}).parameters.lm_head == 0


def test_engine_runs_on_counts():
    ops = CountOps()
    model = build_model(ops, LLAMA)
    for parameter in model.parameters():
        parameter.bind(ops, shape_tensor(parameter, F32))
    engine = Engine(model, ops)
    sequence = engine.open()
    engine.extend(sequence, [1, 2, 3])
    assert engine.step([sequence])[sequence].shape == (1, V)
    assert ops.cost.kv_read_bytes == L * 3 * 2 * K * D * 4  # weights in F32 are given a cache in F32


def test_shapes_are_never_read():
    tensor = shape_tensor(Parameter("model.norm.weight", (7,), "norm"), Q8_0)
    assert tensor.format is F32
    with pytest.raises(RequestError, match=r"model\.norm\.weight is only a shape"):
        tensor.read()


def test_operands_that_do_not_fit_are_refused():
    ops = CountOps()
    x = counted_activation(ops, 2, 5)
    weight = ops.matrix(StoredTensor("w", F32, (3, 7), lambda: np.zeros((0, 0), np.uint8)))
    with pytest.raises(ShapeError, match=r"input of w: expected \(2, 7\), found \(2, 5\)"):
        ops.linear(x, weight)
    with pytest.raises(ShapeError, match="second input of add"):
        ops.add(x, counted_activation(ops, 3, 5))
    with pytest.raises(ShapeError, match="keys"):
        ops.append(x, x, ops.kv_store(1, 5, F16), rows([0, 1, 2]))


def test_a_step_needs_rows():
    with pytest.raises(RequestError, match="rows of a step"):
        counted(LLAMA).step([])


def test_products_and_squares_are_counted_by_value():
    ops = CountOps()
    x = counted_activation(ops, 3, 5)
    ops.multiply(ops.squared_relu(x), x)
    assert ops.cost.by_kind()["multiply"].operations == {"fp32": 15}
    assert ops.cost.by_kind()["squared_relu"].operations == {"fp32": 30}
    with pytest.raises(ShapeError, match="second input of multiply"):
        ops.multiply(x, counted_activation(ops, 3, 4))
