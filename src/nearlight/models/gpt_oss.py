"""gpt-oss, for planning: experts with biases, attention with sinks, every other layer with a window.

Left out of what a step reads: the sinks and the experts' biases, a thousandth of an expert's matrices; in memory they
count. Source: arXiv:2508.10925.
"""

from __future__ import annotations

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.layers.basic import Linear, RMSNorm
from nearlight.layers.decoder import Block, Decoder
from nearlight.layers.experts import ExpertNames, SparseMLP
from nearlight.layers.parameters import Parameter
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import attention_shape, projections, rotary_decoder

NAMES = ExpertNames("router", "experts.*.gate_proj", "experts.*.up_proj", "experts.*.down_proj")


class SinkAttention(Attention):
    """Attention in which every head has one more score, of nothing."""

    def __init__(
        self, ops: ExpertOps, index: int, shape: AttentionShape, projected: Projections, name: str, window: int | None
    ) -> None:
        super().__init__(ops, index, shape, projected, window=window)
        self.sinks = Parameter(f"{name}.sinks.weight", (shape.n_heads,))


class BiasedExperts(SparseMLP):
    """Experts whose matrices, and whose router, have biases."""

    def __init__(
        self, ops: ExpertOps, name: str, hidden_size: int, expert_size: int, n_experts: int, n_chosen: int
    ) -> None:
        super().__init__(ops, name, NAMES, hidden_size, expert_size, n_experts, n_chosen, normalize=True)
        self.router = Linear(ops, f"{name}.{NAMES.router}", n_experts, hidden_size, bias=True)
        widths = {NAMES.gate: expert_size, NAMES.up: expert_size, NAMES.down: hidden_size}
        self.biases = [Parameter(f"{name}.{part}.bias", (n_experts * width,)) for part, width in widths.items()]


def build(ops: ExpertOps, config: ConfigReader) -> Decoder:
    config = config.with_defaults(head_dim=64, num_key_value_heads=8, rms_norm_eps=1e-5)
    shape, eps = attention_shape(config), config.number("rms_norm_eps")
    n_experts = config.size("num_local_experts" if config.has("num_local_experts") else "num_experts", 128)
    n_chosen, bias = config.size("num_experts_per_tok", 4), config.flag("attention_bias", True)
    types, n_layers = config.items("layer_types", str), config.layers("num_hidden_layers")
    config.require(len(types) in (0, n_layers), "layer_types", f"a list of {n_layers}", types)

    def block(i: int) -> Block:
        name = f"model.layers.{i}"
        attention = f"{name}.self_attn"
        sliding = types[i] == "sliding_attention" if types else i % 2 == 0
        window = config.positions("sliding_window", 128) if sliding else None
        projected = projections(ops, attention, shape, qkv_bias=bias, out_bias=bias)
        return Block(
            ops,
            RMSNorm(ops, f"{name}.input_layernorm", shape.hidden_size, eps),
            SinkAttention(ops, i, shape, projected, attention, window),
            RMSNorm(ops, f"{name}.post_attention_layernorm", shape.hidden_size, eps),
            BiasedExperts(ops, f"{name}.mlp", shape.hidden_size, config.size("intermediate_size"), n_experts, n_chosen),
        )

    return rotary_decoder(ops, config, vocab_size=201088, max_positions=131072, block=block)
