"""Mistral, Ministral 8B: llama, with a sliding window where the config has one. Source: arXiv:2310.06825."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder


def build(ops: Ops, config: Mapping[str, Any]) -> Decoder:
    switched_off = "sliding_window" in config and config["sliding_window"] is None
    window = None if switched_off else ConfigReader(config).size("sliding_window", 4096)
    n_kv_heads = config.get("num_key_value_heads") or 8
    return rotary_decoder(
        ops, {**config, "num_key_value_heads": n_kv_heads}, max_positions=131072, window=lambda i: window
    )
