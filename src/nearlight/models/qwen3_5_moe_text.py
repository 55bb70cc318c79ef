"""Qwen3.5 (its text) with mixtures of experts: in every layer, the weights of the chosen adding up to 1."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import ExpertOps
from nearlight.layers.experts import SparseMLP
from nearlight.models import qwen3_5_text
from nearlight.models.config import ConfigReader
from nearlight.models.qwen3_next import Qwen3Next, sparse_mlp


class SparseBlock(qwen3_5_text.Block):
    """Qwen3.5's, with experts."""

    def mlp_of(self, ops: ExpertOps, name: str, config: ConfigReader, index: int) -> SparseMLP:
        config = config.with_defaults(num_experts=256, num_experts_per_tok=8)
        return sparse_mlp(ops, name, config, normalize=True)


class Qwen35Moe(Qwen3Next):
    block = SparseBlock
    defaults: ClassVar = {"vocab_size": 248320, "num_key_value_heads": 2}
