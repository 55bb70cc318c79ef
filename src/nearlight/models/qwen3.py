"""Qwen3, dense: every head of queries and keys is normalised before rotation. Source: arXiv:2505.09388."""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, windows_by_layer


def build(ops: Ops, config: ConfigReader) -> Decoder:
    attention_bias = config.flag("attention_bias", False)
    return rotary_decoder(
        ops,
        config,
        vocab_size=151936,
        max_positions=32768,
        head_dim=128,  # not hidden / heads, unlike its elders
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=True,
        window=windows_by_layer(config),
    )
