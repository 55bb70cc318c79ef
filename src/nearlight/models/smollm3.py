"""SmolLM3: llama, in which every fourth layer attends without positions (NoPE). Source: arXiv:2305.19466."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama
from nearlight.models.shapes import rotating_layers, window_in_use
from nearlight.state.cache import LayerCache


class NopeBlock(Block):
    """Llama's; where it does not rotate, attention knows no positions but for what it may see."""

    def __init__(self, ops: Ops, config: ConfigReader, index: int) -> None:
        super().__init__(ops, config, index)
        self.rotates = rotating_layers(config)[index]

    def window(self, config: ConfigReader, index: int) -> int | None:
        return None if rotating_layers(config)[index] else window_in_use(config)

    def __call__(self, h: Array, rows: Rows, angles: Array, cache: LayerCache) -> Array:
        return super().__call__(h, rows, angles if self.rotates else None, cache)


class SmolLM3(Llama):
    block = NopeBlock
    defaults: ClassVar = {"vocab_size": 128256, "max_position_embeddings": 32768, "tie_word_embeddings": True}
