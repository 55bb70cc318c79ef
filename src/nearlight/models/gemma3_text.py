"""Gemma 3 (its text), for planning: Gemma 2 with normed heads, and one layer of six that sees everything.

What is left out is what `gemma2.py` names. Source: arXiv:2503.19786.
"""

from __future__ import annotations

from nearlight.kernels.ops import Ops
from nearlight.layers.decoder import Decoder
from nearlight.models.config import ConfigReader
from nearlight.models.gemma2 import gemma_decoder


def build(ops: Ops, config: ConfigReader) -> Decoder:
    period = config.positions("sliding_window_pattern", 6)
    return gemma_decoder(ops, config, slides=lambda i: (i + 1) % period != 0, qk_norm=True)
