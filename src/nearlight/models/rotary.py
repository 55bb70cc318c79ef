"""What llama, qwen2 and qwen3 have in common: RMS norms, rotary positions, gated MLPs.

They differ in which projections have biases and whether heads are normalised, so a family is a few lines that say
so (`llama.py`, `qwen2.py`, `qwen3.py`) and this file is the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from nearlight.kernels.ops import Ops
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.basic import Embedding, Linear, RMSNorm
from nearlight.layers.decoder import MLP, Block, Decoder
from nearlight.layers.mlp import GatedMLP
from nearlight.layers.rope import Rope
from nearlight.models.config import ConfigReader


def attention_shape(config: ConfigReader, head_dim: int | None = None) -> AttentionShape:
    """Read the sizes of attention; `head_dim` is the family's default, None for hidden / heads."""
    hidden_size, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    n_kv_heads = config.size("num_key_value_heads", n_heads)
    head_dim = config.size("head_dim", head_dim or max(hidden_size // n_heads, 1))
    fits = n_heads % n_kv_heads == 0
    config.require(fits, "num_attention_heads", f"a multiple of num_key_value_heads ({n_kv_heads})", n_heads)
    return AttentionShape(hidden_size, n_heads, n_kv_heads, head_dim)


def projections(
    ops: Ops, name: str, shape: AttentionShape, qkv_bias: bool = False, out_bias: bool = False
) -> Projections:
    """Declare the four matrices of an attention layer under their usual names."""
    q_width, kv_width = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    return Projections(
        q=Linear(ops, f"{name}.q_proj", q_width, shape.hidden_size, qkv_bias),
        k=Linear(ops, f"{name}.k_proj", kv_width, shape.hidden_size, qkv_bias),
        v=Linear(ops, f"{name}.v_proj", kv_width, shape.hidden_size, qkv_bias),
        out=Linear(ops, f"{name}.o_proj", shape.hidden_size, q_width, out_bias),
    )


def rotary_decoder(
    ops: Ops,
    config: ConfigReader,
    *,
    vocab_size: int = 32000,
    max_positions: int = 2048,
    head_dim: int | None = None,
    qkv_bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    qk_norm: bool = False,
    mlp: Callable[[int, str], MLP] | None = None,
    window: Callable[[int], int | None] | None = None,
    block: Callable[[int], Block] | None = None,
) -> Decoder:
    """Put a model together from a config and what sets its family apart.

    `vocab_size`, `max_positions` and `head_dim` are the family's defaults for keys the config may lack (None: hidden /
    heads). `mlp` makes the MLP of a layer from its number and name, where a family has another than all; `window` says
    how many tokens a layer sees. `block` makes whole layers, for families whose layers are put together otherwise.
    """
    shape = attention_shape(config, head_dim)
    config.choice("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")
    eps = config.number("rms_norm_eps", 1e-6)
    intermediate_size = config.size("intermediate_size")
    max_positions = config.positions("max_position_embeddings", max_positions)

    def norm(name: str, width: int = shape.hidden_size) -> RMSNorm:
        return RMSNorm(ops, name, width, eps)

    def rotary_block(i: int) -> Block:
        name = f"model.layers.{i}"
        attention, mlp_name = f"{name}.self_attn", f"{name}.mlp"
        projected = projections(ops, attention, shape, qkv_bias, out_bias)
        norms = (norm(f"{attention}.q_norm", shape.head_dim), norm(f"{attention}.k_norm", shape.head_dim))
        return Block(
            ops,
            norm(f"{name}.input_layernorm"),
            Attention(ops, i, shape, projected, norms if qk_norm else None, window=window(i) if window else None),
            norm(f"{name}.post_attention_layernorm"),
            mlp(i, mlp_name) if mlp else GatedMLP(ops, mlp_name, shape.hidden_size, intermediate_size, mlp_bias),
        )

    rope_parameters = config.mapping("rope_parameters")
    rotary = ConfigReader(rope_parameters, "config.json: rope_parameters").number("partial_rotary_factor", 1.0)
    config.require(rotary <= 1, "partial_rotary_factor", "at most 1", rotary)
    rotary_dim = int(shape.head_dim * rotary + 1e-6)  # the factor may be a rounded quotient
    rope = Rope(ops, rope_parameters, rotary_dim, max_positions)
    n_rows = config.size("vocab_size", vocab_size)
    tied = config.flag("tie_word_embeddings", False)
    return Decoder(
        ops,
        embedding=Embedding(ops, "model.embed_tokens", n_rows, shape.hidden_size),
        blocks=[(block or rotary_block)(i) for i in range(config.layers("num_hidden_layers"))],
        norm=norm("model.norm"),
        head=None if tied else Linear(ops, "lm_head", n_rows, shape.hidden_size),
        rope=rope,
        max_positions=rope.scaling.max_positions,
    )


def window_in_use(config: ConfigReader) -> int | None:
    """Return the sliding window of a config, None where it is switched off.

    Many configs name a window that no layer uses: it counts only where `use_sliding_window` says so.
    """
    return config.positions("sliding_window", 4096) if config.flag("use_sliding_window", False) else None


def windows_by_layer(config: ConfigReader) -> Callable[[int], int | None]:
    """Return which layers use the window: those that `layer_types` names, or all from `max_window_layers` on.

    Raises: PackageError for a list of another length than the model, or with other types of attention.
    """
    window = window_in_use(config)
    if window is None:
        return lambda i: None
    n_full = config.count("max_window_layers", 28)
    if not config.has("layer_types"):
        return lambda i: window if i >= n_full else None
    n_layers, types = config.layers("num_hidden_layers"), config.items("layer_types", str)
    fits = len(types) == n_layers and set(types) <= _LAYER_TYPES
    config.require(fits, "layer_types", f"{n_layers} of " + ", ".join(sorted(_LAYER_TYPES)), types)
    return lambda i: window if types[i] == "sliding_attention" else None


_LAYER_TYPES = {"full_attention", "sliding_attention"}
