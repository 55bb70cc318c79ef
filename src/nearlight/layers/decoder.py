"""The decoder-only transformer that most families are: embed, blocks, norm, head.

A family file says which embedding, norms, attention and MLP; the order in which they are applied is here, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from nearlight.cache.kv import AttentionCache, KVShape
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import Embedding, LayerNorm, Linear, RMSNorm
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mlp import GatedMLP, GeluMLP
from nearlight.layers.parameters import Layer
from nearlight.layers.rope import Rope

Norm = RMSNorm | LayerNorm
MLP = GatedMLP | GeluMLP | SparseMLP


class Block(Layer):
    """h += attention(norm(h)); h += mlp(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, attention_norm: Norm, attention: Attention, mlp_norm: Norm, mlp: MLP) -> None:
        self.ops = ops
        self.attention_norm = attention_norm
        self.attention = attention
        self.mlp_norm = mlp_norm
        self.mlp = mlp

    def __call__(self, h: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        h = self.ops.add(h, self.attention(self.attention_norm(h), rows, angles, cache))
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))


class Decoder(Layer):
    """A whole model: rows in, logits of the wanted rows out.

    With no `head`, the logits are products with the embedding table (tied). Positions enter through `rope`, or
    through `position_embedding`, added to the token's.
    """

    def __init__(
        self,
        ops: Ops,
        *,
        embedding: Embedding,
        blocks: Sequence[Block],
        norm: Norm,
        head: Linear | None,
        rope: Rope | None = None,
        position_embedding: Embedding | None = None,
        max_positions: int,
    ) -> None:
        self.ops = ops
        self.embedding = embedding
        self.position_embedding = position_embedding
        self.rope = rope
        self.blocks = list(blocks)
        self.norm = norm
        self.head = head
        self.max_positions = max_positions

    def __call__(self, rows: Rows, cache: AttentionCache) -> Array:
        """Compute logits. Shapes: rows of R -> [W, V]."""
        h = self.embedding(rows.tokens)
        if self.position_embedding:
            h = self.ops.add(h, self.position_embedding(rows.positions))
        angles = self.rope.angles(rows.positions) if self.rope else None
        for block in self.blocks:
            h = block(h, rows, angles, cache)
        last = self.norm(self.ops.take(h, rows.wanted))
        return self.head(last) if self.head else self.ops.linear(last, self.embedding.weight.value)

    @property
    def vocab_size(self) -> int:
        return self.embedding.weight.shape[0]

    @property
    def kv_shapes(self) -> list[KVShape]:
        shapes = (block.attention.shape for block in self.blocks)
        return [KVShape(shape.n_kv_heads, shape.head_dim) for shape in shapes]
