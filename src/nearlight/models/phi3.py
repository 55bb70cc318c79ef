"""Phi-3, Phi-3.5, Phi-4 and their minis: llama with queries, keys and values as one matrix, and gate and up as one.

Those for long texts have two rotations, for sequences up to the trained length and for longer ones (longrope).
Source: arXiv:2404.14219.
"""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Ops
from nearlight.layers.attention import Attention, Projections
from nearlight.layers.mlp import FusedGatedMLP
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama


class FusedBlock(Block):
    """Llama's, with fused matrices."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        name = f"{self.name}.self_attn"
        projections = Projections.fused(ops, f"{name}.qkv_proj", f"{name}.o_proj", self.shape)
        self.attention = Attention(ops, self.shape, projections, window=self.window(config, index))
        self.mlp = FusedGatedMLP(ops, f"{self.name}.mlp", self.shape.hidden_size, config.size("intermediate_size"))

    def window(self, config: ConfigReader, index: int) -> int | None:
        return config.positions("sliding_window") if config.has("sliding_window") else None


class Phi3(Llama):
    block = FusedBlock
    defaults: ClassVar = {"vocab_size": 32064, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        rope = {**config.mapping("rope_parameters")}
        if rope.get("rope_type") in ("longrope", "yarn"):  # what it was called at first
            trained = config.positions("original_max_position_embeddings", 4096)
            rope |= {"rope_type": "longrope", "original_max_position_embeddings": trained}
        super().__init__(ops, config.replacing(rope_parameters=rope))
