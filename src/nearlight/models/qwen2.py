"""Qwen1.5, Qwen2 and Qwen2.5: llama with biases on queries, keys and values. Source: arXiv:2407.10671."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Ops
from nearlight.layers.attention import Attention, Projections
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import window_of_layer


class BiasedBlock(Block):
    """Llama's, but for the biases, and windows by layer."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        projections = Projections.of(ops, f"{self.name}.self_attn", self.shape, qkv_bias=True)
        self.attention = Attention(ops, self.shape, projections, window=self.window(config, index))

    def window(self, config: ConfigReader, index: int) -> int | None:
        return window_of_layer(config, index)


class Qwen2(Llama):
    block = BiasedBlock
    defaults: ClassVar = {"vocab_size": 151936, "max_position_embeddings": 32768}
