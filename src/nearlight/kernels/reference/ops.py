"""The `Ops` of `kernels.ops` in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name everyone knows

from nearlight.dtypes import Format
from nearlight.errors import PackageError, ShapeError
from nearlight.formats import dequantize
from nearlight.kernels.ops import (
    Array,
    Float32,
    Frequencies,
    KVStore,
    Program,
    RecurrentStore,
    Routing,
    Rows,
    Watch,
)
from nearlight.kernels.reference.attention import attend_sequences, attend_to, visible_to
from nearlight.kernels.reference.stores import TorchKVStore, TorchRecurrentStore
from nearlight.package.tensors import StoredTensor


class TorchWeight:
    """A matrix as a float32 tensor [out, in]."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name = name
        self.tensor = tensor

    @property
    def shape(self) -> tuple[int, int]:
        n_out, n_in = self.tensor.shape
        return n_out, n_in

    @property
    def n_bytes(self) -> int:
        return self.tensor.numel() * self.tensor.element_size()


@dataclass(frozen=True)
class TorchRoutes:
    """The experts of every row [R, k], and their weights; pairs lie row by row."""

    chosen: torch.Tensor
    weights: torch.Tensor


class ReferenceOps:
    """The `Ops` of `kernels.ops` in PyTorch."""

    name = "reference"

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.threads = torch.get_num_threads()

    # -- parameters ------------------------------------------------------------------------------------------------

    def matrix(self, tensor: StoredTensor) -> TorchWeight:
        floats = self._floats(tensor)
        if tensor.format.block_size > 1:
            bad = torch.nonzero(~floats.isfinite().all(dim=1))
            if len(bad):
                raise PackageError(
                    f"{tensor.name}: row {int(bad[0])}", expected="finite scales", found="NaN or infinity"
                )
        return TorchWeight(tensor.name, floats.reshape(tensor.shape))

    def table(self, tensor: StoredTensor) -> StoredTensor:
        return tensor

    def vector(self, tensor: StoredTensor) -> torch.Tensor:
        return self._floats(tensor).reshape(-1)

    def kv_store(self, n_kv_heads: int, head_dim: int, format: Format) -> TorchKVStore:
        return TorchKVStore(n_kv_heads, head_dim, format, self.device)

    def recurrent_store(self, size: int) -> TorchRecurrentStore:
        return TorchRecurrentStore(size, self.device)

    def program(self, forward: Callable[[Rows], Array]) -> Program:
        def run(rows: Rows, watch: Watch | None = None) -> Float32:
            def tensor(values: Array, dtype: torch.dtype = torch.int64) -> torch.Tensor:
                return torch.as_tensor(values, dtype=dtype, device=self.device)

            with torch.inference_mode():
                logits = forward(
                    Rows(
                        tensor(rows.tokens),
                        tensor(rows.positions),
                        tensor(rows.sequences),
                        tensor(rows.logit_rows),
                        None if rows.embeddings is None else tensor(rows.embeddings, torch.float32),
                        None if rows.lengths is None else tensor(rows.lengths),
                    )
                )
            result: Float32 = logits.float().cpu().numpy()
            return result

        return run

    def _floats(self, tensor: StoredTensor) -> torch.Tensor:
        values = dequantize(tensor.format, tensor.read(), tensor.row_length)
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    # -- operations ------------------------------------------------------------------------------------------------

    def embed(self, table: TorchWeight, ids: Array, given: Array | None = None, scale: float = 1.0) -> torch.Tensor:
        if given is None:
            return F.embedding(ids, table.tensor) * scale
        if given.shape[-1] != table.shape[1]:
            raise ShapeError("width of the embeddings", expected=table.shape[1], found=given.shape[-1])
        found = torch.empty(len(ids), table.shape[1], device=self.device)
        own = ids >= 0
        found[own] = F.embedding(ids[own], table.tensor) * scale
        found[~own] = F.embedding(-1 - ids[~own], given)
        return found

    def look_up(self, table: StoredTensor, ids: Array, scale: float = 1.0) -> torch.Tensor:
        stored = torch.where((ids < 0) | (ids >= table.n_rows), 0, ids).numpy(force=True)
        values = dequantize(table.format, np.ascontiguousarray(table.read()[stored]), table.row_length)
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device) * scale

    def linear(self, x: torch.Tensor, weight: TorchWeight, bias: Array | None = None) -> torch.Tensor:
        if x.shape[-1] != weight.shape[1]:
            raise ShapeError(f"input of {weight.name}", expected=[x.shape[0], weight.shape[1]], found=list(x.shape))
        return F.linear(x, weight.tensor, bias)

    def rms_norm(self, x: Array, weight: Array | None, eps: float, n: int | None = None) -> torch.Tensor:
        heads = _split(x.float(), (n or 0) if weight is None else len(weight))
        scaled = heads * torch.rsqrt(heads.square().mean(-1, keepdim=True) + eps)
        normed: torch.Tensor = scaled if weight is None else scaled * weight
        return normed.flatten(-2)

    def layer_norm(self, x: Array, weight: Array, bias: Array, eps: float) -> torch.Tensor:
        return F.layer_norm(x.float(), (len(weight),), weight, bias, eps)

    def rope_angles(self, rows: Rows, frequencies: Frequencies, magnitude: float) -> torch.Tensor:
        lengths = rows.positions + 1 if rows.lengths is None else rows.lengths
        per_position = np.asarray(frequencies(lengths.tolist()), dtype=np.float32)
        angles = rows.positions.float()[:, None] * torch.from_numpy(per_position).to(self.device)
        return torch.cat([angles.cos(), angles.sin()], dim=-1) * magnitude

    def rope(self, x: Array, angles: Array, head_dim: int, *, interleaved: bool = False) -> torch.Tensor:
        cos, sin = angles[:, None, :].chunk(2, -1)  # [R, 1, rotary/2]
        half = cos.shape[-1]
        heads = _split(x.float(), head_dim)
        rotary, rest = heads[..., : 2 * half], heads[..., 2 * half :]
        first, second = (rotary[..., 0::2], rotary[..., 1::2]) if interleaved else rotary.chunk(2, -1)
        turned = first * cos - second * sin, second * cos + first * sin
        pairs = torch.stack(turned, dim=-1).flatten(-2) if interleaved else torch.cat(turned, dim=-1)
        return torch.cat([pairs, rest], dim=-1).flatten(-2)

    def append(self, k: Array, v: Array, store: KVStore, rows: Rows) -> None:
        assert isinstance(store, TorchKVStore)
        k, v = _split(k, store.head_dim), _split(v, store.head_dim)
        for sequence in rows.sequences.unique().tolist():
            mine = rows.sequences == sequence
            store.append(sequence, rows.positions[mine], k[mine], v[mine])

    def attend(
        self,
        q: Array,
        store: KVStore,
        rows: Rows,
        *,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: Array | None = None,
    ) -> torch.Tensor:
        assert isinstance(store, TorchKVStore)
        q = _split(q, store.head_dim)
        out = torch.empty_like(q)
        for sequence in rows.sequences.unique().tolist():
            mine = rows.sequences == sequence
            positions = rows.positions[mine]
            seen = int(positions.max()) + 1
            whole = visible_to(positions, seen, window, chunked)
            first = int(whole[0].nonzero()[0])
            keys, values = (x.to(q.dtype) for x in store.entry(sequence, first, seen))
            visible = whole[:, first:]
            out[mine] = attend_to(q[mine], keys, values, visible, scale, softcap, sinks)
        return out.flatten(-2)

    def attend_whole(
        self,
        q: Array,
        k: Array,
        v: Array,
        length: int,
        *,
        head_dim: int,
        scale: float,
        window: int | None = None,
        chunked: bool = False,
        softcap: float | None = None,
        sinks: Array | None = None,
    ) -> torch.Tensor:
        q, k, v = (_split(x, head_dim) for x in (q, k, v))
        return attend_sequences(q, k, v, length, scale, window, chunked, softcap, sinks)

    def causal_conv(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        silu: bool = True,
    ) -> torch.Tensor:
        assert isinstance(store, TorchRecurrentStore)
        channels = x.shape[-1]
        kernel = weight.reshape(channels, -1)
        width, out = kernel.shape[1], torch.empty_like(x)
        for sequence in rows.sequences.unique().tolist():
            mine = rows.sequences == sequence
            inputs = torch.cat([store.read(sequence).reshape(width - 1, channels), x[mine]])
            windows = inputs.unfold(0, width, 1)  # [rows, channels, width]
            out[mine] = (windows * kernel).sum(-1) + (0 if bias is None else bias)
            store.write(sequence, inputs[len(inputs) - (width - 1) :].clone())
        return F.silu(out) if silu else out

    def grouped_rms_norm(self, x: Array, weight: Array, eps: float, n_groups: int) -> torch.Tensor:
        groups = _split(x, x.shape[-1] // n_groups)
        scaled: torch.Tensor = groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + eps)
        normed: torch.Tensor = scaled.flatten(-2) * weight
        return normed

    def selective_scan(
        self,
        x: Array,
        dt: Array,
        b: Array,
        c: Array,
        a_log: Array,
        d: Array,
        dt_bias: Array | None,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_heads: int,
        n_groups: int = 1,
    ) -> torch.Tensor:
        assert isinstance(store, TorchRecurrentStore)
        steps = F.softplus(dt if dt_bias is None else dt + dt_bias)
        x = _split(x, x.shape[-1] // n_heads)  # [R, H, P]
        b, c = (
            _split(values, values.shape[-1] // n_groups).repeat_interleave(n_heads // n_groups, 1) for values in (b, c)
        )
        decay = torch.exp(steps[..., None] * -torch.exp(a_log.reshape(n_heads, -1)))  # [R, H, N], or [R, H, 1]
        out = torch.empty_like(x)
        for sequence in rows.sequences.unique().tolist():
            state = store.read(sequence).reshape(n_heads, x.shape[-1], b.shape[-1])
            for row in torch.nonzero(rows.sequences == sequence)[:, 0].tolist():
                gained = (steps[row, :, None] * x[row])[..., None] * b[row, :, None]
                state = decay[row, :, None] * state + gained
                out[row] = (state * c[row, :, None]).sum(-1) + d[:, None] * x[row]
            store.write(sequence, state)
        return out.flatten(-2)

    def l2_norm(self, x: Array, head_dim: int, eps: float) -> torch.Tensor:
        heads = _split(x, head_dim)
        scaled: torch.Tensor = heads * torch.rsqrt(heads.square().sum(-1, keepdim=True) + eps)
        return scaled.flatten(-2)

    def gated_delta_rule(
        self,
        q: Array,
        k: Array,
        v: Array,
        a: Array,
        b: Array,
        a_log: Array,
        dt_bias: Array,
        store: RecurrentStore,
        rows: Rows,
        *,
        n_key_heads: int,
        scale: float,
        tiled: bool = False,
    ) -> torch.Tensor:
        assert isinstance(store, TorchRecurrentStore)
        n_heads = len(a_log)
        repeats = n_heads // n_key_heads
        q, k = (_split(x, x.shape[-1] // n_key_heads) for x in (q, k))
        q, k = (x.repeat(1, repeats, 1) if tiled else x.repeat_interleave(repeats, 1) for x in (q, k))  # [R, H, D]
        v = _split(v, v.shape[-1] // n_heads)
        decay, step = torch.exp(-torch.exp(a_log) * F.softplus(a + dt_bias)), torch.sigmoid(b)
        out = torch.empty_like(v)
        for sequence in rows.sequences.unique().tolist():
            state = store.read(sequence).reshape(n_heads, k.shape[-1], v.shape[-1])
            for row in torch.nonzero(rows.sequences == sequence)[:, 0].tolist():
                state = decay[row, :, None, None] * state
                recalled = torch.einsum("hde,hd->he", state, k[row])
                update = step[row, :, None] * (v[row] - recalled)
                state = state + k[row][..., None] * update[:, None, :]
                out[row] = scale * torch.einsum("hde,hd->he", state, q[row])
            store.write(sequence, state)
        return out.flatten(-2)

    def swiglu(self, gate: Array, up: Array) -> torch.Tensor:
        gated: torch.Tensor = F.silu(gate) * up
        return gated

    def clamped_swiglu(self, gate: torch.Tensor, up: torch.Tensor, *, alpha: float, limit: float) -> torch.Tensor:
        low = gate.clamp(max=limit)
        return low * torch.sigmoid(alpha * low) * (up.clamp(-limit, limit) + 1)

    def sigmoid_gate(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(gate)

    def geglu(self, gate: torch.Tensor, up: torch.Tensor, approximation: str) -> torch.Tensor:
        return F.gelu(gate, approximate=approximation) * up

    def route(
        self, scores: torch.Tensor, routing: Routing, bias: Array | None = None, expert_scale: Array | None = None
    ) -> TorchRoutes:
        scores = scores.float()
        weights = scores.softmax(-1) if routing.scoring == "softmax" else scores.sigmoid()
        rank = weights if bias is None else weights + bias
        if routing.n_chosen_groups < routing.n_groups:
            groups = rank.view(len(rank), routing.n_groups, -1)
            best = groups.topk(2, dim=-1).values.sum(-1).topk(routing.n_chosen_groups, dim=-1).indices
            excluded = torch.ones(groups.shape[:2], dtype=torch.bool, device=rank.device).scatter(1, best, False)
            rank = groups.masked_fill(excluded[..., None], float("-inf")).flatten(1)
        chosen = rank.topk(routing.n_chosen, dim=-1).indices
        weights = weights.gather(-1, chosen)
        if routing.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        if expert_scale is not None:
            weights = weights * expert_scale[chosen]
        return TorchRoutes(chosen, weights * routing.scale)

    def expert_linear(
        self, x: torch.Tensor, weights: Sequence[TorchWeight], routes: TorchRoutes, bias: Array | None = None
    ) -> torch.Tensor:
        n_rows, n_chosen = routes.chosen.shape
        pairs = x.repeat_interleave(n_chosen, 0) if len(x) == n_rows else x
        biases = None if bias is None else bias.view(len(weights), -1)
        result = torch.empty(n_rows * n_chosen, weights[0].shape[0], device=x.device)
        for expert in torch.unique(routes.chosen).tolist():
            mine = routes.chosen.flatten() == expert
            result[mine] = F.linear(pairs[mine], weights[expert].tensor, None if biases is None else biases[expert])
        return result

    def weigh(self, y: torch.Tensor, routes: TorchRoutes) -> torch.Tensor:
        return y * routes.weights.reshape(-1, 1)

    def combine(self, y: torch.Tensor, routes: TorchRoutes, *, weighted: bool = True) -> torch.Tensor:
        return (self.weigh(y, routes) if weighted else y).view(*routes.weights.shape, -1).sum(1)

    def gelu(self, x: Array, approximation: str) -> torch.Tensor:
        return F.gelu(x, approximate=approximation)

    def squared_relu(self, x: Array) -> torch.Tensor:
        return F.relu(x).square()

    def multiply(self, x: Array, y: Array) -> torch.Tensor:
        result: torch.Tensor = x * y
        return result

    def add(self, x: Array, y: Array, scale: float = 1.0) -> torch.Tensor:
        result: torch.Tensor = x + scale * y
        return result

    def scale(self, x: Array, factor: float | Array) -> torch.Tensor:
        result: torch.Tensor = x * factor
        return result

    def scale_by_position(
        self, x: torch.Tensor, rows: Rows, *, strength: float, period: int, offset: int = 0
    ) -> torch.Tensor:
        periods = (rows.positions + offset) // period
        return x * (1 + strength * torch.log1p(periods.float()))[:, None]

    def softcap(self, x: Array, cap: float) -> torch.Tensor:
        return cap * torch.tanh(x / cap)

    def take(self, x: Array, indices: Array) -> torch.Tensor:
        result: torch.Tensor = x[indices]
        return result

    def columns(self, x: Array, first: int, width: int) -> torch.Tensor:
        result: torch.Tensor = x[:, first : first + width]
        return result

    def rows_of_logits(self, rows: Rows) -> Rows:
        chosen = rows.logit_rows
        lengths = None if rows.lengths is None else rows.lengths[chosen]
        tokens, positions, sequences = (field[chosen] for field in (rows.tokens, rows.positions, rows.sequences))
        return Rows(tokens, positions, sequences, None, rows.embeddings, lengths)


def _split(x: torch.Tensor, width: int) -> torch.Tensor:
    """Shapes: x [R, H * width] -> [R, H, width]."""
    return x.view(len(x), x.shape[-1] // width, width)
