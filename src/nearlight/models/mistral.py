"""Mistral, Ministral 8B: llama, with a sliding window where the config has one. Source: arXiv:2310.06825."""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder


def build(ops: Ops, config: ConfigReader) -> Decoder:
    window = None if config.is_off("sliding_window") else config.positions("sliding_window", 4096)
    config = config.with_defaults(num_key_value_heads=8)
    return rotary_decoder(ops, config, max_positions=131072, window=lambda i: window)
