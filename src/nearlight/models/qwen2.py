"""Qwen1.5, Qwen2 and Qwen2.5: biases on queries, keys and values. Source: arXiv:2407.10671."""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, windows_by_layer


def build(ops: Ops, config: ConfigReader) -> Decoder:
    return rotary_decoder(
        ops, config, vocab_size=151936, max_positions=32768, qkv_bias=True, window=windows_by_layer(config)
    )
