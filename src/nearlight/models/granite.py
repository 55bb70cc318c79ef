"""Granite 3, for planning: llama with four factors (on embeddings, scores, what a layer adds, logits).

The factors are left out: they are a multiplication for each value, which no count notices. Source: arXiv:2405.04324.
"""

from __future__ import annotations

from nearlight.models.llama import Llama


class Granite(Llama):
    leaves_out = "four factors"
