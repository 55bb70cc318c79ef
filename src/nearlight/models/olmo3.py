"""OLMo 3: OLMo 2, three of four layers with a window and a rotation of their own. Source: arXiv:2512.13961."""

from __future__ import annotations

from typing import ClassVar

from nearlight.kernels.ops import Array, Ops, Rows
from nearlight.models.config import ConfigReader
from nearlight.models.olmo2 import Olmo2, PostNormBlock
from nearlight.models.shapes import FULL, SLIDING, kinds_of_layers, rope_of
from nearlight.state.cache import LayerCache


def _kinds(config: ConfigReader) -> list[str]:
    return kinds_of_layers(config, lambda i: SLIDING if (i + 1) % 4 else FULL)


class WindowedBlock(PostNormBlock):
    """OLMo 2's, with a window in most layers."""

    def window(self, config: ConfigReader, index: int) -> int | None:
        return config.positions("sliding_window", 4096) if _kinds(config)[index] == SLIDING else None


class Olmo3(Olmo2):
    """Layers with a window turn as if nothing was stretched."""

    block = WindowedBlock
    rope_defaults: ClassVar = {"rope_theta": 500000.0}

    def __init__(self, ops: Ops, config: ConfigReader) -> None:
        given = config.mapping("rope_parameters")
        plain = {"rope_type": "default", "rope_theta": given.get("rope_theta")}
        ropes = given if FULL in given else {FULL: given, SLIDING: plain}
        config = config.replacing(rope_parameters=ropes)
        super().__init__(ops, config)
        self.kinds = _kinds(config)
        self.ropes = {kind: rope_of(ops, config, kind, self.rope_defaults) for kind in (FULL, SLIDING)}

    def hidden(self, rows: Rows, cache: LayerCache) -> Array:
        h = self.embedding(rows)
        angles = {kind: rope.angles(rows) for kind, rope in self.ropes.items()}
        for block, kind in zip(self.blocks, self.kinds, strict=True):
            h = block(h, rows, angles[kind], cache)
        return self.norm(self.ops.take(h, rows.logit_rows))
