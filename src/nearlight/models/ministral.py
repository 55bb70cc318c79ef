"""Ministral: Mistral, with windows in the layers that the config names. Source: transformers 5.23, read for facts."""

from __future__ import annotations

from nearlight.models import mistral
from nearlight.models.config import ConfigReader
from nearlight.models.mistral import Mistral
from nearlight.models.shapes import FULL, SLIDING, kinds_of_layers


class LayeredBlock(mistral.WindowedBlock):
    """Mistral's, of one of two kinds."""

    def window(self, config: ConfigReader, index: int) -> int | None:
        window = super().window(config, index)
        kinds = kinds_of_layers(config, lambda i: FULL if window is None else SLIDING)
        return window if kinds[index] == SLIDING else None


class Ministral(Mistral):
    block = LayeredBlock
