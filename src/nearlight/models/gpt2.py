"""GPT-2: learned positions, layer norms with biases, one fused matrix for queries, keys and values.

Packages give its weights as [out, in] like everyone's, though its own files keep them transposed.
Source: "Language Models are Unsupervised Multitask Learners", Radford et al. 2019.
"""

from __future__ import annotations

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.basic import Embedding, Head, LayerNorm, PositionEmbedding
from nearlight.layers.mlp import GeluMLP
from nearlight.layers.parameters import Layer
from nearlight.models.config import ConfigReader
from nearlight.models.model import Model
from nearlight.state.cache import LayerCache

_ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}


class Block(Layer):
    """h += attention(norm(h)); h += mlp(norm(h)). Shapes: [R, M] -> [R, M]."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        width, n_heads = config.size("n_embd"), config.size("n_head")
        config.require(width % n_heads == 0, "n_embd", f"a multiple of n_head ({n_heads})", width)
        shape, eps = AttentionShape(width, n_heads, n_heads, width // n_heads), _eps(config)
        scale = shape.head_dim**-0.5 if config.flag("scale_attn_weights", True) else 1.0
        by_layer = config.flag("scale_attn_by_inverse_layer_idx", False)
        approximation = config.choice("activation_function", _ACTIVATIONS, "gelu_new")
        name = f"transformer.h.{index}"
        projections = Projections.fused(ops, f"{name}.attn.c_attn", f"{name}.attn.c_proj", shape, bias=True)
        mlp = f"{name}.mlp.c_fc", f"{name}.mlp.c_proj"
        self.ops = ops
        self.attention_norm = LayerNorm(ops, f"{name}.ln_1", width, eps)
        self.attention = Attention(ops, shape, projections, scale=scale / (index + 1) if by_layer else scale)
        self.mlp_norm = LayerNorm(ops, f"{name}.ln_2", width, eps)
        self.mlp = GeluMLP(ops, *mlp, width, config.size("n_inner", 4 * width), approximation)

    def __call__(self, h: Array, rows: Rows, cache: LayerCache) -> Array:
        h = self.ops.add(h, self.attention(self.attention_norm(h), rows, None, cache))
        return self.ops.add(h, self.mlp(self.mlp_norm(h)))


class GPT2(Model):
    """Embed tokens and positions, blocks, norm, head."""

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        config = config.with_defaults(n_embd=768, n_head=12, n_layer=12, vocab_size=50257, n_positions=1024)
        super().__init__(ops, config.size("vocab_size"), config.size("n_positions"))
        width = config.size("n_embd")
        self.embedding = Embedding(ops, "transformer.wte", self.vocab_size, width)
        self.positions = PositionEmbedding(ops, "transformer.wpe", self.max_positions, width)
        self.blocks = [Block(ops, config, i) for i in range(config.layers("n_layer"))]
        self.norm = LayerNorm(ops, "transformer.ln_f", width, _eps(config))
        self.head = Head(ops, self.embedding, tied=config.flag("tie_word_embeddings", True))

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.ops.add(self.embedding(rows), self.positions(rows))
        for block in self.blocks:
            h = block(h, rows, cache)
        return self.norm(self.ops.take(h, rows.logit_rows))

    def logits(self, hidden: Array) -> Array:
        return self.head(hidden)


def _eps(config: ConfigReader) -> float:
    return config.number("layer_norm_epsilon", 1e-5)
