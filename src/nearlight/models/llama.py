"""Llama 1, 2 and 3, and the many models of that shape. Source: arXiv:2302.13971, arXiv:2407.21783."""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.rotary import rotary_decoder, window_in_use


def build(ops: Ops, config: ConfigReader) -> Decoder:
    attention_bias = config.flag("attention_bias", False)
    window = window_in_use(config)  # of models like Mistral's first, which GGUF files also call llama
    return rotary_decoder(
        ops,
        config,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=config.flag("mlp_bias", False),
        window=lambda i: window,
    )
