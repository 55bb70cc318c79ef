"""What configs say about attention under the keys that most families share: sizes, rotation, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from nearlight.kernels.ops import Ops, Routing
from nearlight.layers.attention import AttentionShape
from nearlight.layers.rope import Rope
from nearlight.models.config import ConfigReader

FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


def attention_shape(config: ConfigReader) -> AttentionShape:
    """Read the sizes of attention; a head is as wide as hidden / heads where the config does not say."""
    hidden_size, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    n_kv_heads = config.size("num_key_value_heads", n_heads)
    head_dim = config.size("head_dim", max(hidden_size // n_heads, 1))
    fits = n_heads % n_kv_heads == 0
    config.require(fits, "num_attention_heads", f"a multiple of num_key_value_heads ({n_kv_heads})", n_heads)
    return AttentionShape(hidden_size, n_heads, n_kv_heads, head_dim)


def rope_of(
    ops: Ops, config: ConfigReader, kind: str = "", defaults: Mapping[str, float] = MappingProxyType({})
) -> Rope:
    """Read which rotation there is, and of how many of a head's dimensions.

    Where layers of some `kind` have their own rotation it is that of this kind; `defaults` stand for what is not said.
    """
    parameters = config.mapping("rope_parameters")
    if kind and isinstance(own := parameters.get(kind), Mapping):
        parameters = own
    parameters = {**defaults, **{key: value for key, value in parameters.items() if value is not None}}
    rotary = ConfigReader(parameters, "config.json: rope_parameters").number("partial_rotary_factor", 1.0)
    config.require(rotary <= 1, "partial_rotary_factor", "at most 1", rotary)
    if parameters.get("rope_type") == "proportional":  # which of all pairs turn is said by their frequencies
        rotary = 1.0
    rotary_dim = int(attention_shape(config).head_dim * rotary + 1e-6)  # the factor may be a rounded quotient
    return Rope(ops, parameters, rotary_dim, config.positions("max_position_embeddings"))


def chosen_experts(config: ConfigReader, n_experts: int, default: int) -> int:
    """Read how many experts a row is sent to: not more than there are."""
    n_chosen = config.size("num_experts_per_tok", default)
    config.require(n_chosen <= n_experts, "num_experts_per_tok", f"at most {n_experts}", n_chosen)
    return n_chosen


def sigmoid_routing(config: ConfigReader, n_experts: int, default: int) -> Routing:
    """Read how a router chooses by sigmoids, perhaps in groups of experts, as DeepSeek-V3's does."""
    n_groups, n_chosen_groups = config.size("n_group", 1), config.size("topk_group", 1)
    fits = n_experts % n_groups == 0 and n_chosen_groups <= n_groups
    config.require(fits, "n_group", f"a divisor of {n_experts}, of which topk_group are chosen", n_groups)
    return Routing(
        chosen_experts(config, n_chosen_groups * (n_experts // n_groups), default),
        normalize=config.flag("norm_topk_prob", True),
        scoring="sigmoid",
        scale=config.number("routed_scaling_factor", 1.0),
        n_groups=n_groups,
        n_chosen_groups=n_chosen_groups,
    )


def optional_number(config: ConfigReader, key: str) -> float | None:
    """Read a positive number that a config may leave out, or switch off by null."""
    return config.number(key) if config.has(key) else None


def require_silu(config: ConfigReader) -> None:
    """Refuse a config whose gates are not the SiLU that a family's are."""
    config.choice("hidden_act", {"silu": "silu", "swish": "silu"}, "silu")


def window_in_use(config: ConfigReader) -> int | None:
    """Return the sliding window of a config, None where it is switched off.

    Many configs name a window that no layer uses: it counts only where `use_sliding_window` says so.
    """
    return config.positions("sliding_window", 4096) if config.flag("use_sliding_window", False) else None


def window_of_layer(config: ConfigReader, index: int) -> int | None:
    """Return the window of a layer: of those that `layer_types` names, or of all from `max_window_layers` on.

    Raises: PackageError for a list of another length than the model, or with other types of attention.
    """
    window = window_in_use(config)
    if window is None:
        return None
    first = config.count("max_window_layers", 28)
    kinds = kinds_of_layers(config, lambda i: SLIDING if i >= first else FULL)
    return window if kinds[index] == SLIDING else None


def kinds_of_layers(
    config: ConfigReader, usual: Callable[[int], str], known: tuple[str, ...] = (FULL, SLIDING)
) -> list[str]:
    """Return one of the `known` kinds for each layer, by `layer_types` or else as is `usual` for a layer's number.

    Raises: PackageError for a list of another length than the model, or with other kinds.
    """
    kinds = layer_types(config) or [usual(i) for i in range(config.layers("num_hidden_layers"))]
    config.require(set(kinds) <= {*known}, "layer_types", "a list of " + " and ".join(known), kinds)
    return kinds


def rotating_layers(config: ConfigReader) -> list[bool]:
    """Return which layers rotate: `no_rope_layers` has, against its name, 1 for those that do."""
    n_layers, interval = config.layers("num_hidden_layers"), config.positions("no_rope_layer_interval", 4)
    listed = config.items("no_rope_layers", int)
    if not listed:
        return [(i + 1) % interval != 0 for i in range(n_layers)]
    fits = len(listed) == n_layers and set(listed) <= {0, 1}
    config.require(fits, "no_rope_layers", f"{n_layers} of 0 and 1", listed)
    return [bool(each) for each in listed]


def layer_types(config: ConfigReader) -> list[str]:
    """Return the kinds of the layers, nothing where the config has none.

    Raises: PackageError for a list of another length than the model.
    """
    types, n_layers = config.items("layer_types", str), config.layers("num_hidden_layers")
    config.require(len(types) in (0, n_layers), "layer_types", f"a list of {n_layers}", types)
    return types
