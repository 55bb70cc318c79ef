"""Qwen3, dense: every head of queries and keys is normalised before rotation. Source: arXiv:2505.09388."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, windows_by_layer


def build(ops: Ops, config: Mapping[str, Any]) -> Decoder:
    attention_bias = ConfigReader(config).flag("attention_bias", False)
    head_dim = config.get("head_dim") or 128  # not hidden / heads, unlike its elders
    return rotary_decoder(
        ops,
        {**config, "head_dim": head_dim},
        vocab_size=151936,
        max_positions=32768,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=True,
        window=windows_by_layer(config),
    )
