"""Gemma 2, for planning: norms before and after each sublayer, every other layer with a window, a GELU gate.

Left out, as a few operations on single values: the factor on embeddings and the caps on scores and logits; the gate
counts as SwiGLU's, which does as much. Source: arXiv:2408.00118.
"""

from __future__ import annotations

from collections.abc import Callable

from nearlight.cache.kv import AttentionCache
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, projections, rotary_decoder


class SandwichBlock(Block):
    """h += norm(attention(norm(h))); h += norm(mlp(norm(h))). Shapes: [R, M] -> [R, M]."""

    def __init__(self, inner: Block, attention_out_norm: RMSNorm, mlp_out_norm: RMSNorm) -> None:
        super().__init__(inner.ops, inner.attention_norm, inner.attention, inner.mlp_norm, inner.mlp)
        self.attention_out_norm, self.mlp_out_norm = attention_out_norm, mlp_out_norm

    def __call__(self, h: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        attended = self.attention(self.attention_norm(h), rows, angles, cache)
        h = self.ops.add(h, self.attention_out_norm(attended))
        return self.ops.add(h, self.mlp_out_norm(self.mlp(self.mlp_norm(h))))


def build(ops: Ops, config: ConfigReader) -> Decoder:
    return gemma_decoder(ops, config, slides=lambda i: i % 2 == 0, qk_norm=False)


def gemma_decoder(ops: Ops, config: ConfigReader, *, slides: Callable[[int], bool], qk_norm: bool) -> Decoder:
    """Put a Gemma together; `slides` says which layers have the window where `layer_types` does not."""
    config = config.with_defaults(head_dim=256, num_key_value_heads=4, tie_word_embeddings=True)
    config = config.replacing(hidden_act="silu")
    shape, eps = attention_shape(config), config.number("rms_norm_eps", 1e-6)
    types, n_layers = config.items("layer_types", str), config.layers("num_hidden_layers")
    config.require(len(types) in (0, n_layers), "layer_types", f"a list of {n_layers}", types)

    def norm(name: str, width: int = shape.hidden_size) -> RMSNorm:
        return RMSNorm(ops, name, width, eps)

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        sliding = types[i] == "sliding_attention" if types else slides(i)
        names = (f"{name}.self_attn.q_norm", f"{name}.self_attn.k_norm")
        q_norm, k_norm = (norm(each, shape.head_dim) for each in names)
        attention = Attention(
            ops,
            i,
            shape,
            projections(ops, f"{name}.self_attn", shape),
            (q_norm, k_norm) if qk_norm else None,
            scale=config.number("query_pre_attn_scalar", 256) ** -0.5,
            window=config.positions("sliding_window", 4096) if sliding else None,
        )
        mlp = GatedMLP(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size"))
        inner = Block(ops, norm(f"{name}.input_layernorm"), attention, norm(f"{name}.pre_feedforward_layernorm"), mlp)
        after = (norm(f"{name}.{each}_layernorm") for each in ("post_attention", "post_feedforward"))
        return SandwichBlock(inner, *after)

    return rotary_decoder(ops, config, vocab_size=262208, max_positions=131072, block=block)
