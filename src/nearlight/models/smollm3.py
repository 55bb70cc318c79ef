"""SmolLM3: llama, in which every fourth layer attends without positions (NoPE). Source: arXiv:2305.19466."""

from __future__ import annotations

from nearlight.cache.kv import AttentionCache
from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention
from nearlight.layers.basic import RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, projections, rotary_decoder, window_in_use


class UnrotatedAttention(Attention):
    """Attention that knows no positions but for what it may see."""

    def __call__(self, x: Array, rows: Rows, angles: Array | None, cache: AttentionCache) -> Array:
        return super().__call__(x, rows, None, cache)


def build(ops: Ops, config: ConfigReader) -> Decoder:
    config = config.with_defaults(tie_word_embeddings=True)
    shape, eps = attention_shape(config), config.number("rms_norm_eps", 1e-6)
    rotated, window = _rotated(config), window_in_use(config)

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        projected = projections(ops, f"{name}.self_attn", shape)
        attention = (
            Attention(ops, i, shape, projected)
            if rotated[i]
            else UnrotatedAttention(ops, i, shape, projected, window=window)
        )
        return Block(
            ops,
            RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, eps),
            attention,
            RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps),
            GatedMLP(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size")),
        )

    return rotary_decoder(ops, config, vocab_size=128256, max_positions=32768, block=block)


def _rotated(config: ConfigReader) -> list[bool]:
    """Return which layers rotate: `no_rope_layers` has, against its name, 1 for those that do."""
    n_layers, interval = config.layers("num_hidden_layers"), config.positions("no_rope_layer_interval", 4)
    if not config.has("no_rope_layers"):
        return [(i + 1) % interval != 0 for i in range(n_layers)]
    listed = config.items("no_rope_layers", int)
    fits = len(listed) == n_layers and set(listed) <= {0, 1}
    config.require(fits, "no_rope_layers", f"{n_layers} of 0 and 1", listed)
    return [bool(each) for each in listed]
