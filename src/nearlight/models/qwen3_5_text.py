"""Qwen3.5 (its text), dense: Qwen3-Next with plain MLPs, and projections of its linear attention that lie apart.

Positions in three axes, as pictures have them, are one and the same for text: its rotation is a plain one.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps, RecurrentOps
from nearlight.layers.delta_net import DeltaNetShape, DeltaProjections
from nearlight.layers.experts import SparseMLP
from nearlight.layers.mlp import GatedMLP
from nearlight.models import qwen3_next
from nearlight.models.config import ConfigReader
from nearlight.models.qwen3_next import Qwen3Next


class Block(qwen3_next.Block):
    """Qwen3-Next's, dense."""

    def projections(self, ops: RecurrentOps, name: str, shape: DeltaNetShape, config: ConfigReader) -> DeltaProjections:
        return DeltaProjections.of(ops, name, shape)

    def mlp_of(self, ops: ExpertOps, name: str, config: ConfigReader, index: int) -> GatedMLP | SparseMLP:
        return GatedMLP(ops, name, config.size("hidden_size"), config.size("intermediate_size", 12288))


class Qwen35(Qwen3Next):
    needs = ("recurrences",)
    block = Block
    defaults: ClassVar = {"vocab_size": 248320, "num_key_value_heads": 4}
