"""Gemma 4 (its text): layers that share keys and values, per-layer embeddings, experts beside a dense MLP.

Layers with a window and those without have heads of different sizes, and rotations of their own; what the last layers
attend over was appended by earlier ones. Not every model has everything: the small ones share and have per-layer
embeddings, the mixture has experts, and the large ones make values of keys where nothing is hidden by a window.

Source: transformers' Gemma4TextModel and the released configs, checked in docs/formats.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

from nearlight.kernels.ops import Array, ExpertOps, Routing, Rows
from nearlight.layers.basic import Embedding, Head, Linear, RMSNorm
from nearlight.layers.experts import ExpertLinear
from nearlight.layers.mlp import GeluGatedMLP
from nearlight.layers.parameters import Layer, Parameter, Part
from nearlight.layers.per_layer import PerLayerEmbedding, PerLayerGate
from nearlight.layers.shared_kv import KeysAndValues, SharedAttention
from nearlight.models.config import ConfigReader
from nearlight.models.gemma2 import GELU
from nearlight.models.gemma4_layout import Layout
from nearlight.models.model import Model
from nearlight.models.shapes import FULL, SLIDING, optional_number
from nearlight.state.cache import LayerCache

Sources = dict[str, KeysAndValues]
"""Of each kind of layer the last that makes keys and values."""


class Experts(Layer):
    """Experts chosen by the stream itself, and given a norm of it. Shapes: h [R, M] -> [R, M]."""

    def __init__(self, ops: ExpertOps, name: str, config: ConfigReader, hidden_size: int, eps: float) -> None:
        self.ops, self.eps, self.scale = ops, eps, hidden_size**-0.5
        n_experts, size = config.size("num_experts"), config.size("moe_intermediate_size")
        n_chosen = config.size("top_k_experts")
        config.require(n_chosen <= n_experts, "top_k_experts", f"at most {n_experts}", n_chosen)
        self.routing, active = Routing(n_chosen, normalize=True), Fraction(n_chosen, n_experts)
        self.gelu = config.choice("hidden_activation", GELU, "gelu_pytorch_tanh")
        self.router_norm = Parameter(f"{name}.router.scale", (hidden_size,), "norm")
        self.router = Linear(ops, f"{name}.router.proj", n_experts, hidden_size, "router")
        self.expert_scale = Parameter(f"{name}.router.per_expert_scale", (n_experts,), "norm")
        self.norm = RMSNorm(ops, f"{name}.pre_feedforward_layernorm_2", hidden_size, eps)
        fused = f"{name}.experts.gate_up_proj"
        self.gate, self.up = (
            ExpertLinear(ops, fused, n_experts, size, hidden_size, active, part=Part(half * size, 2 * size))
            for half in range(2)
        )
        self.down = ExpertLinear(ops, f"{name}.experts.down_proj", n_experts, hidden_size, size, active)

    def __call__(self, h: Array) -> Array:
        scores = self.router(self.ops.rms_norm(h, self.router_norm.value, self.eps))
        scores = self.ops.scale(scores, self.scale)
        routes = self.ops.route(scores, self.routing, expert_scale=self.expert_scale.value)
        x = self.norm(h)
        hidden = self.ops.geglu(self.gate(x, routes), self.up(x, routes), self.gelu)
        return self.ops.combine(self.down(hidden, routes), routes)


class FeedForward(Layer):
    """norm(mlp(norm(h))), or norm(norm(mlp(norm(h))) + norm(experts(h))). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: ExpertOps, name: str, config: ConfigReader, hidden_size: int, size: int) -> None:
        self.ops, eps = ops, config.number("rms_norm_eps", 1e-6)
        gelu = config.choice("hidden_activation", GELU, "gelu_pytorch_tanh")
        self.norm = RMSNorm(ops, f"{name}.pre_feedforward_layernorm", hidden_size, eps)
        self.mlp = GeluGatedMLP(ops, f"{name}.mlp", hidden_size, size, gelu)
        self.experts = None
        if config.flag("enable_moe_block", False):
            self.mlp_norm = RMSNorm(ops, f"{name}.post_feedforward_layernorm_1", hidden_size, eps)
            self.experts = Experts(ops, name, config, hidden_size, eps)
            self.experts_norm = RMSNorm(ops, f"{name}.post_feedforward_layernorm_2", hidden_size, eps)
        self.out_norm = RMSNorm(ops, f"{name}.post_feedforward_layernorm", hidden_size, eps)

    def __call__(self, h: Array) -> Array:
        y = self.mlp(self.norm(h))
        if self.experts:
            y = self.ops.add(self.mlp_norm(y), self.experts_norm(self.experts(h)))
        return self.out_norm(y)


class Block(Layer):
    """h += norm(attention(norm(h))); h += mlp(h); h += gate(h, given); h *= scalar. Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: ExpertOps, config: ConfigReader, layout: Layout, index: int, sources: Sources) -> None:
        self.ops, self.index = ops, index
        self.kind, shape = layout.kinds[index], layout.shapes[index]
        name, width, eps = f"model.layers.{index}", shape.hidden_size, config.number("rms_norm_eps", 1e-6)
        shares, bias = index >= layout.first_shared, config.flag("attention_bias", False)
        if not shares:
            sources[self.kind] = KeysAndValues(
                ops,
                f"{name}.self_attn",
                shape,
                eps,
                window=config.positions("sliding_window", 512) if self.kind == SLIDING else None,
                values_of_keys=self.kind == FULL and config.flag("attention_k_eq_v", False),
                bias=bias,
            )
        source = sources[self.kind]
        self.attention_norm = RMSNorm(ops, f"{name}.input_layernorm", width, eps)
        self.attention = SharedAttention(
            ops, f"{name}.self_attn", shape, eps, source, owns_source=not shares, bias=bias
        )
        self.attention_out_norm = RMSNorm(ops, f"{name}.post_attention_layernorm", width, eps)
        wide = 2 if shares and config.flag("use_double_wide_mlp", False) else 1
        self.mlp = FeedForward(ops, name, config, width, wide * config.size("intermediate_size"))
        gelu = config.choice("hidden_activation", GELU, "gelu_pytorch_tanh")
        self.gate = PerLayerGate(ops, name, width, layout.per_layer, eps, gelu) if layout.per_layer else None
        self.scalar = Parameter(f"{name}.layer_scalar", (1,), "norm")

    def __call__(self, h: Array, given: Array | None, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        attended = self.attention(self.attention_norm(h), rows, angles, cache)
        h = self.ops.add(h, self.attention_out_norm(attended))
        h = self.ops.add(h, self.mlp(h))
        if self.gate:
            h = self.ops.add(h, self.gate(h, given))
        return self.ops.scale(h, self.scalar.value)


class Gemma4(Model):
    """Embed and scale, per-layer embeddings, blocks, norm, head."""

    needs: ClassVar[tuple[str, ...]] = ("experts",)

    def __init__(self, ops: ExpertOps, config: ConfigReader) -> None:
        usual = {"vocab_size": 262144, "max_position_embeddings": 131072, "head_dim": 256, "num_key_value_heads": 4}
        config = config.with_defaults(**usual, num_attention_heads=8)
        layout, width = Layout(config), config.size("hidden_size")
        self.ropes = layout.ropes(ops, config)
        positions = min(rope.scaling.max_positions for rope in self.ropes.values())
        super().__init__(ops, config.size("vocab_size"), positions)
        eps = config.number("rms_norm_eps", 1e-6)
        self.embedding = Embedding(ops, "model.embed_tokens", self.vocab_size, width, scale=width**0.5)
        self.per_layer = None
        if layout.per_layer:
            n_rows = config.size("vocab_size_per_layer_input", 262144)
            known = n_rows >= self.vocab_size
            config.require(known, "vocab_size_per_layer_input", f"at least vocab_size ({self.vocab_size})", n_rows)
            self.per_layer = PerLayerEmbedding(ops, "model", n_rows, len(layout.kinds), layout.per_layer, width, eps)
        sources: Sources = {}
        blocks = [Block(ops, config, layout, i, sources) for i in range(len(layout.kinds))]
        self.blocks, self.sharing_blocks = blocks[: layout.first_shared], blocks[layout.first_shared :]
        self.norm = RMSNorm(ops, "model.norm", width, eps)
        tied, cap = config.flag("tie_word_embeddings", True), optional_number(config, "final_logit_softcapping")
        self.head = Head(ops, self.embedding, tied=tied, softcap=cap)

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        given = self.per_layer(rows, h) if self.per_layer else None
        angles = {kind: rope.angles(rows) for kind, rope in self.ropes.items()}
        h = self._through(self.blocks, h, given, rows, angles, cache)
        wanted, take = rows.logit_rows, self.ops.take
        if not self.sharing_blocks:
            return self.norm(take(h, wanted))
        # These keep nothing, so that only rows whose logits are wanted have to go on.
        h, given = take(h, wanted), None if given is None else take(given, wanted)
        angles = {kind: take(angle, wanted) for kind, angle in angles.items()}
        return self.norm(self._through(self.sharing_blocks, h, given, self.ops.rows_of_logits(rows), angles, cache))

    def _through(
        self,
        blocks: list[Block],
        h: Array,
        given: Array | None,
        rows: Rows,
        angles: Mapping[str, Array],
        cache: LayerCache,
    ) -> Array:
        for block in blocks:
            own = self.per_layer.of_layer(block.index, given) if self.per_layer else None
            h = block(h, own, rows, angles[block.kind], cache)
        return h

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)
