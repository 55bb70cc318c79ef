"""Gemma 3 (its text), for planning: Gemma 2 with normed heads, and one layer of six that sees everything.

What is left out is what `gemma2.py` names. Source: arXiv:2503.19786.
"""

from __future__ import annotations

from nearlight.models.config import ConfigReader
from nearlight.models.gemma2 import Gemma2, SandwichBlock


class NormedHeadsBlock(SandwichBlock):
    """Gemma 2's, with normed heads."""

    norms_heads = True

    def slides(self, config: ConfigReader, index: int) -> bool:
        return (index + 1) % config.positions("sliding_window_pattern", 6) != 0


class Gemma3(Gemma2):
    block = NormedHeadsBlock
