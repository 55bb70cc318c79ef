"""Ministral 3: llama stretched by YaRN, whose queries grow with their position so that attention stays sharp.

Source: transformers 5.23, models/ministral3 (Apache-2.0), read for facts; arXiv:2501.19399.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.layers.attention import Attention, AttentionShape, Projections
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama

_ROPE: dict[str, Any] = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
"""Of configs that say nothing about it."""


class SharpenedAttention(Attention):
    """Attention whose rotated queries are multiplied by 1 + strength * log(1 + position // period)."""

    def __init__(
        self,
        ops: Ops,
        shape: AttentionShape,
        projections: Projections,
        window: int | None,
        strength: float,
        period: int,
    ) -> None:
        super().__init__(ops, shape, projections, window=window)
        self.strength, self.period = strength, period

    def turn(self, q: Array, k: Array, rows: Rows, angles: Array | None) -> tuple[Array, Array]:
        q, k = super().turn(q, k, rows, angles)
        return self.ops.scale_by_position(q, rows, strength=self.strength, period=self.period), k


class SharpenedBlock(Block):
    """Llama's, with queries that grow where the config says how much."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        rope = ConfigReader(config.mapping("rope_parameters"), "config.json: rope_parameters")
        if rope.has("llama_4_scaling_beta") and rope.has("original_max_position_embeddings"):
            strength, period = rope.number("llama_4_scaling_beta"), rope.positions("original_max_position_embeddings")
            window, projections = self.window(config, index), self.attention.projections
            self.attention = SharpenedAttention(ops, self.shape, projections, window, strength, period)

    def window(self, config: ConfigReader, index: int) -> int | None:
        return config.positions("sliding_window") if config.has("sliding_window") else None


class Ministral3(Llama):
    block = SharpenedBlock
    defaults: ClassVar = {
        "vocab_size": 131072,
        "max_position_embeddings": 262144,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-5,
    }

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        says_nothing = config.mapping("rope_parameters").keys() <= {"rope_type"}
        super().__init__(ops, config.replacing(rope_parameters=_ROPE) if says_nothing else config)
