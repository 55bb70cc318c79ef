"""OLMo 2: norms follow the sublayers, and heads are normed all at once. Source: arXiv:2501.00656."""

from __future__ import annotations

from nearlight.cache.kv import AttentionCache
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, projections, rotary_decoder


class PostNormBlock(Block):
    """h += norm(attention(h)); h += norm(mlp(h)). Shapes: [R, M] -> [R, M]."""

    def __call__(self, h: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        h = self.ops.add(h, self.attention_norm(self.attention(h, rows, angles, cache)))
        return self.ops.add(h, self.mlp_norm(self.mlp(h)))


def build(ops: Ops, config: ConfigReader) -> Decoder:
    config = config.with_defaults(rms_norm_eps=1e-5)
    shape, eps = attention_shape(config), config.number("rms_norm_eps")

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        norms = (
            RMSNorm(ops, f"{name}.self_attn.q_norm", shape.n_heads * shape.head_dim, eps),
            RMSNorm(ops, f"{name}.self_attn.k_norm", shape.n_kv_heads * shape.head_dim, eps),
        )
        return PostNormBlock(
            ops,
            RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps),
            Attention(ops, i, shape, projections(ops, f"{name}.self_attn", shape), norms),
            RMSNorm(ops, f"{name}.post_feedforward_layernorm", shape.hidden_size, eps),
            GatedMLP(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size")),
        )

    return rotary_decoder(ops, config, vocab_size=50304, block=block)
