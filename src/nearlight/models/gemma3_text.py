"""Gemma 3 (its text): Gemma 2 with normed heads in place of capped scores, and one layer of six that sees everything.

Layers with a window turn faster than the others. Source: arXiv:2503.19786.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.models import gemma2
from nearlight.models.config import ConfigReader
from nearlight.models.gemma2 import Gemma2
from nearlight.models.shapes import FULL, SLIDING


class Block(gemma2.Block):
    """Gemma 2's, with normed heads."""

    norms_heads = True


class Gemma3(Gemma2):
    block = Block
    defaults: ClassVar = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    thetas: ClassVar = {FULL: 1_000_000.0, SLIDING: 10_000.0}

    def slides(self, config: ConfigReader, index: int) -> bool:
        return (index + 1) % config.positions("sliding_window_pattern", 6) != 0
