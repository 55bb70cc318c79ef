"""Mistral, Ministral 8B: llama, with a sliding window where the config has one. Source: arXiv:2310.06825."""

from __future__ import annotations

from typing import ClassVar

from nearlight.models.config import ConfigReader
from nearlight.models.llama import Block, Llama


class WindowedBlock(Block):
    """Llama's; a window that the config leaves out is 4096 tokens, one that is null is none."""

    def window(self, config: ConfigReader, index: int) -> int | None:
        return None if config.is_off("sliding_window") else config.positions("sliding_window", 4096)


class Mistral(Llama):
    block = WindowedBlock
    defaults: ClassVar = {"max_position_embeddings": 131072, "num_key_value_heads": 8}
