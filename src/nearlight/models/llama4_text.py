"""Llama 4 (its text): experts weighed before they compute, attention in chunks, and every fourth layer sees all.

Layers with chunks rotate, and norm their heads behind that; the others know no positions, and their queries grow with
them. Source: transformers 5.23, models/llama4 (Apache-2.0), read for facts; arXiv:2501.19399.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, ExpertOps, Routing, Rows
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import FULL, chosen_experts, kinds_of_layers, rotating_layers
from nearlight.state.cache import LayerCache

CHUNKED = "chunked_attention"
NAMES = ExpertNames("router", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class ChunkedAttention(Attention):
    """Rotate, then norm heads, within a chunk of so many tokens."""

    def __init__(
        self, ops: ExpertOps, shape: AttentionShape, projections: Projections, chunk: int | None, eps: float | None
    ) -> None:
        super().__init__(ops, shape, projections, window=chunk, chunked=chunk is not None, interleaved=True)
        self.eps = eps

    def turn(self, q: Array, k: Array, rows: Rows, angles: Array | None) -> tuple[Array, Array]:
        q, k = super().turn(q, k, rows, angles)
        if self.eps is None:
            return q, k
        return self.ops.rms_norm(q, None, self.eps, self.head_dim), self.ops.rms_norm(k, None, self.eps, self.head_dim)


class WholeAttention(Attention):
    """Attend to all tokens alike; queries are multiplied by 1 + strength * log(1 + (position + 1) // period)."""

    def __init__(
        self,
        ops: ExpertOps,
        shape: AttentionShape,
        projections: Projections,
        chunk: int | None,
        strength: float,
        period: int,
    ) -> None:
        super().__init__(ops, shape, projections, window=chunk, chunked=chunk is not None)
        self.strength, self.period = strength, period

    def turn(self, q: Array, k: Array, rows: Rows, angles: Array | None) -> tuple[Array, Array]:
        return self.ops.scale_by_position(q, rows, strength=self.strength, period=self.period, offset=1), k


class WeighedExperts(SparseMLP):
    """The chosen experts' down(silu(s gate(x)) * s up(x)), s an expert's weight, and what all rows share."""

    def __call__(self, x: Array) -> Array:
        routes = self.ops.route(self.router(x), self.routing)
        gate, up = (self.ops.weigh(each(x, routes), routes) for each in (self.gate, self.up))
        chosen = self.ops.combine(self.down(self.activate(gate, up), routes), routes, weighted=False)
        return self.ops.add(chosen, self.shared(x)) if self.shared else chosen


class Llama4Block(Block):
    """Llama's, in one of two kinds of attention and of MLPs."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        projections, width = self.attention.projections, self.shape.hidden_size
        self.rotates = rotating_layers(config)[index]
        chunk = _chunk(config, index)
        if self.rotates:
            eps = self.eps if config.flag("use_qk_norm", True) else None
            self.attention = ChunkedAttention(ops, self.shape, projections, chunk, eps)
        elif config.switch("attn_temperature_tuning", True):
            strength, period = config.number("attn_scale", 0.1), config.positions("floor_scale", 8192)
            self.attention = WholeAttention(ops, self.shape, projections, chunk, strength, period)
        else:
            self.attention = Attention(ops, self.shape, projections, window=chunk, chunked=chunk is not None)
        name = f"{self.name}.feed_forward"
        if index in _sparse_layers(config):
            self.mlp = _experts(ops, name, config, width)
        else:
            self.mlp = GatedMLP(ops, name, width, config.size("intermediate_size_mlp", 16384))

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        return super().__call__(h, rows, angles if self.rotates else None, cache)


def _chunk(config: ConfigReader, index: int) -> int | None:
    """Read how many tokens a layer's chunks have; None where it sees all."""
    rotating = rotating_layers(config)
    kinds = kinds_of_layers(config, lambda i: CHUNKED if rotating[i] else FULL, (FULL, CHUNKED))
    if kinds[index] == FULL or config.is_off("attention_chunk_size"):
        return None
    return config.positions("attention_chunk_size", 8192)


def _sparse_layers(config: ConfigReader) -> set[int]:
    n_layers, step = config.layers("num_hidden_layers"), config.positions("interleave_moe_layer_step", 1)
    if not config.has("moe_layers"):
        return set(range(step - 1, n_layers, step))
    listed = config.items("moe_layers", int)
    config.require(all(0 <= i < n_layers for i in listed), "moe_layers", f"numbers of {n_layers} layers", listed)
    return set(listed)


def _experts(ops: ExpertOps, name: str, config: ConfigReader, width: int) -> WeighedExperts:
    n_experts, size = config.size("num_local_experts", 16), config.size("intermediate_size", 8192)
    routing = Routing(chosen_experts(config, n_experts, 1), normalize=False, scoring="sigmoid")
    shared = GatedMLP(ops, f"{name}.shared_expert", width, size)
    return WeighedExperts(ops, name, NAMES, width, size, n_experts, routing, shared=shared)


class Llama4(Llama):
    needs = ("experts",)
    block = Llama4Block
    rope_defaults: ClassVar = {"rope_theta": 500000.0}
    defaults: ClassVar = {
        "vocab_size": 202048,
        "max_position_embeddings": 131072,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
    }
