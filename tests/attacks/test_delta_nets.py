"""Configs of models with gated DeltaNet that contradict themselves or their tensors: each ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nearlight
from nearlight.errors import PackageError
from tests.attacks.families import sound_parts, write

FULL, LINEAR = "full_attention", "linear_attention"
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"layer_types": [FULL, "lightning_attention"]}, "layer_types: expected a list of full_attention and linear_att"),
    ({"layer_types": [FULL, "sliding_attention"]}, "layer_types: expected a list of full_attention and linear_att"),
    ({"layer_types": [FULL, LINEAR, LINEAR]}, "layer_types: expected a list of 2, found"),
    ({"layer_types": [FULL]}, "layer_types: expected a list of 2, found"),
    ({"layer_types": [FULL, 3]}, "layer_types: expected a list of str, found"),
    ({"layer_types": [LINEAR, LINEAR]}, r"tensor model\.layers\.0\.linear_attn\.\w+\.weight is missing"),
    ({"layer_types": [FULL, FULL]}, r"tensor model\.layers\.1\.self_attn\.q_proj\.weight is missing"),
    ({"layer_types": None, "full_attention_interval": 0}, "full_attention_interval: expected a positive integer"),
    (
        {"linear_num_value_heads": 5},
        r"linear_num_value_heads: expected a multiple of linear_num_key_heads \(2\), found 5",
    ),
    ({"linear_num_value_heads": 6}, r"shape of tensor model\.layers\.\d\.linear_attn\.in_proj"),
    ({"linear_num_key_heads": 4}, r"shape of tensor model\.layers\.\d\.linear_attn\.in_proj"),
    (
        {"linear_num_key_heads": 2**31 - 2},
        "linear_num_key_heads: expected at most 296, the largest axis of its tensors",
    ),
    ({"linear_num_key_heads": 0}, "linear_num_key_heads: expected a positive integer"),
    ({"linear_key_head_dim": 7}, r"shape of tensor model\.layers\.\d\.linear_attn\.in_proj"),
    ({"linear_key_head_dim": "8"}, "linear_key_head_dim: expected a positive integer, found '8'"),
    ({"linear_value_head_dim": 2**40}, "linear_value_head_dim: expected"),
    ({"linear_conv_kernel_dim": 3}, r"shape of tensor model\.layers\.\d\.linear_attn\.conv1d\.weight"),
    ({"num_attention_heads": 8}, r"shape of tensor model\.layers\.\d\.self_attn\.q_proj\.weight"),
    ({"head_dim": 32}, r"shape of tensor model\.layers\.\d\.self_attn\.q_proj\.weight"),
]


@pytest.mark.parametrize("family", ["qwen3_5_text", "qwen3_next"])
@pytest.mark.parametrize(("changed", "message"), FAULTS, ids=lambda value: str(value)[:50])
def test_what_contradicts_is_named(tmp_path: Path, family: str, changed: dict[str, Any], message: str) -> None:
    parts = sound_parts(f"{family}-directory")
    parts.documents["config.json"] |= changed
    write(parts.contents(), tmp_path / "package")
    with pytest.raises(PackageError, match=message) as raised:
        nearlight.load(tmp_path / "package")
    assert "\n" not in str(raised.value)
