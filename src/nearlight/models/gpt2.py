"""GPT-2: learned positions, layer norms with biases, one fused matrix for queries, keys and values.

Packages give its weights as [out, in] like everyone's, though its own files keep them transposed.
Source: "Language Models are Unsupervised Multitask Learners", Radford et al. 2019.
"""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.basic import Embedding, LayerNorm, Linear
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GeluMLP
from nearlight.layers.parameters import Part
from nearlight.models.config import ConfigReader

_ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}


def build(ops: Ops, config: ConfigReader) -> Decoder:
    width, n_heads = config.size("n_embd", 768), config.size("n_head", 12)
    config.require(width % n_heads == 0, "n_embd", f"a multiple of n_head ({n_heads})", width)
    shape = AttentionShape(width, n_heads, n_heads, width // n_heads)
    intermediate_size = config.size("n_inner", 4 * width)
    eps = config.number("layer_norm_epsilon", 1e-5)
    approximation = config.choice("activation_function", _ACTIVATIONS, "gelu_new")
    scaled = config.flag("scale_attn_weights", True)
    by_layer = config.flag("scale_attn_by_inverse_layer_idx", False)

    def block(i: int) -> Block:
        name = f"transformer.h.{i}"
        q, k, v = (
            Linear(ops, f"{name}.attn.c_attn", width, width, bias=True, part=Part(n * width, 3 * width))
            for n in range(3)
        )
        projections = Projections(q, k, v, Linear(ops, f"{name}.attn.c_proj", width, width, bias=True))
        scale = (shape.head_dim**-0.5 if scaled else 1.0) / (i + 1 if by_layer else 1)
        return Block(
            ops,
            LayerNorm(ops, f"{name}.ln_1", width, eps),
            Attention(ops, i, shape, projections, scale=scale),
            LayerNorm(ops, f"{name}.ln_2", width, eps),
            GeluMLP(ops, f"{name}.mlp.c_fc", f"{name}.mlp.c_proj", width, intermediate_size, approximation),
        )

    n_rows, max_positions = config.size("vocab_size", 50257), config.size("n_positions", 1024)
    tied = config.flag("tie_word_embeddings", True)
    return Decoder(
        ops,
        embedding=Embedding(ops, "transformer.wte", n_rows, width),
        position_embedding=Embedding(ops, "transformer.wpe", max_positions, width),
        blocks=[block(i) for i in range(config.layers("n_layer", 12))],
        norm=LayerNorm(ops, "transformer.ln_f", width, eps),
        head=None if tied else Linear(ops, "lm_head", n_rows, width),
        max_positions=max_positions,
    )
