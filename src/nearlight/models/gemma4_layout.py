"""What a Gemma 4 config says of its layers: their kinds, their heads in two spellings, and which make keys and values.

Published configs name the heads of layers without a window by keys of their own ("global_head_dim"); what transformers
saves has an object of what each layer has of its own ("per_layer_config"), which alone counts where it is there.
"""

from __future__ import annotations

from collections.abc import Mapping

from nearlight.errors import UnsupportedError
from nearlight.kernels.ops import Ops
from nearlight.layers.rope import Rope
from nearlight.models.config import ConfigReader
from nearlight.models.shapes import FULL, SLIDING, attention_shape, kinds_of_layers, rope_of

_ROPES = {
    SLIDING: {"rope_type": "default", "rope_theta": 10_000.0},
    FULL: {"rope_type": "proportional", "rope_theta": 1_000_000.0, "partial_rotary_factor": 0.25},
}
_DIRECTIONS = {"vision": "back", "all": "both"}  # "vision" is about pictures alone
_OF_A_LAYER = {"head_dim", "num_key_value_heads"}


class Layout:
    """What a config says of its layers: their kinds, the sizes of their heads, from which on they share.

    Raises: PackageError for kinds, heads or sources that do not fit together.
    """

    def __init__(self, config: ConfigReader) -> None:
        if config.choice("use_bidirectional_attention", _DIRECTIONS, "vision") == "both":
            raise UnsupportedError(
                "use_bidirectional_attention", where="config.json", expected="null or vision", found="all"
            )
        self.kinds = kinds_of_layers(config, lambda i: SLIDING if (i + 1) % 6 else FULL)
        self.kinds[-1] = FULL  # whatever is said of it
        key = "hidden_size_per_layer_input"
        self.per_layer = config.size(key, 256) if config.count(key, 256) else 0
        self.first_shared = len(self.kinds) - config.count("num_kv_shared_layers", 0)
        own = set(self.kinds[: max(self.first_shared, 0)])
        expected = "so many that a layer of each kind is left which makes keys and values"
        config.require(own == set(self.kinds), "num_kv_shared_layers", expected, len(self.kinds) - self.first_shared)
        sizes = _of_layers(config, self.kinds)
        self.shapes = [attention_shape(config.replacing(**size)) for size in sizes]
        for kind in own:
            alike = {shape for shape, its in zip(self.shapes, self.kinds, strict=True) if its == kind}
            config.require(len(alike) == 1, "per_layer_config", f"heads of one size in all layers of {kind}", sizes)

    def ropes(self, ops: Ops, config: ConfigReader) -> dict[str, Rope]:
        """Read the rotation of each kind of layer: of both, or the usual ones."""
        parameters, kinds = config.mapping("rope_parameters"), sorted(set(self.kinds))
        given = [kind for kind in kinds if isinstance(parameters.get(kind), Mapping)]
        config.require(given in ([], kinds), "rope_parameters", "those of " + " and ".join(kinds), list(parameters))
        config = config if given else config.replacing(rope_parameters=_ROPES)
        shapes = dict(zip(self.kinds, self.shapes, strict=True))
        return {kind: rope_of(ops, config.replacing(head_dim=shapes[kind].head_dim), kind) for kind in kinds}


def _of_layers(config: ConfigReader, kinds: list[str]) -> list[dict[str, int]]:
    """Return what each layer's heads have of their own, in either spelling: by layer, or of all without a window."""
    if config.has("per_layer_config"):
        overrides = _overrides(config)
        return [overrides.get(i, {}) for i in range(len(kinds))]
    own = {"head_dim": config.size("global_head_dim", 512)}
    if config.flag("attention_k_eq_v", False) and config.has("num_global_key_value_heads"):
        own["num_key_value_heads"] = config.size("num_global_key_value_heads")
    return [own if kind == FULL else {} for kind in kinds]


def _overrides(config: ConfigReader) -> dict[int, dict[str, int]]:
    """Read `per_layer_config`: by a layer's number, perhaps with zeros before it, what it has of its own."""
    key, found = "per_layer_config", config.mapping("per_layer_config")
    n_layers, overrides = config.layers("num_hidden_layers"), dict[int, dict[str, int]]()
    for name, own in found.items():
        numbered = name.isdecimal() and len(name) <= 6 and int(name) < n_layers
        config.require(numbered, key, f"keys from 0 to {n_layers - 1}", name)
        fits = isinstance(own, Mapping) and set(own) <= _OF_A_LAYER and all(type(size) is int for size in own.values())
        config.require(fits, f"{key}: {name}", "an object of " + " and ".join(sorted(_OF_A_LAYER)), own)
        overrides[int(name)] = dict(own)
    return overrides
