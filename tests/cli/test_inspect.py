"""What `inspect` finds, also in packages that cannot be run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nearlight import dtypes
from nearlight.package import open_package
from nearlight.plan.inspection import look_over
from tests.cli.conftest import Command
from tests.models.gguf_models import write_gguf


@pytest.fixture
def package(chat_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(chat_model, tmp_path / "Tiny-Chat")


def change(path: Path, **values: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def test_text_and_json(nearlight: Command, chat_model: Path) -> None:
    text = nearlight("inspect", str(chat_model))
    assert text.returncode == 0, text.stderr
    assert "architecture  qwen3, layers 2, hidden 48, heads 6, kv heads 3, ffn 80" in text.stdout
    assert "  │ <|im_start|>user\n  │ How are you?<|im_end|>\n  │ <|im_start|>assistant" in text.stdout
    assert "turns: each turn continues the last" in text.stdout
    assert text.stdout.endswith("nothing looks wrong\n")
    assert "\x1b" not in text.stdout
    report = json.loads(nearlight("inspect", str(chat_model), "--json").stdout)
    # By hand: 3 + 256 + 44 rows of 48; per layer q and o 2 * 96 * 48, k and v 2 * 48 * 48, two head norms of 16.
    assert report["params"]["embedding"] == 303 * 48
    assert report["params"]["attention"] == 2 * (2 * 96 * 48 + 2 * 48 * 48)
    assert report["params"]["ffn"] == 2 * 3 * 80 * 48
    assert report["params"]["norms"] == 5 * 48 + 2 * 2 * 16
    assert report["params"]["total"] == sum(size for kind, size in report["params"].items() if kind != "total")
    assert report["bits_per_weight"]["ffn"] == 32.0
    assert report["kv_bytes_per_token"] == 2 * 4 * 2 * 3 * 16  # all weights have 32 bits, so has the KV cache
    assert report["kv"] == "f32"
    assert "768 B of KV cache a token, 240 KiB in all (f32)" in text.stdout
    assert report["context"] == 320
    assert report["stop_ids"] == {"0": "<|endoftext|>", "2": "<|im_end|>"}
    assert report["chat_template"]["continues_cache"] is True


def test_shapes_that_disagree_with_the_config(package: Path, nearlight: Command) -> None:
    change(package / "config.json", intermediate_size=81)
    problems = look_over(open_package(package)).problems
    assert "shape of model.layers.0.mlp.gate_proj.weight: expected [81, 48] by the config, found [80, 48]" in problems
    change(package / "config.json", intermediate_size=80, num_hidden_layers=3)
    problems = look_over(open_package(package)).problems
    assert any(problem.startswith("tensor model.layers.2.") for problem in problems)
    result = nearlight("inspect", str(package))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "problem: tensor model.layers.2." in result.stdout


def test_unused_tensors_and_unknown_families(package: Path) -> None:
    change(package / "config.json", num_hidden_layers=1)
    warnings = look_over(open_package(package)).warnings
    assert any("11 tensors are not used by qwen3: model.layers.1." in warning for warning in warnings)
    change(package / "config.json", model_type="mamba9")
    found = look_over(open_package(package))
    assert found.problems == [found.problems[0]]
    assert found.problems[0].startswith(
        "model_type: nearlight can neither run nor plan models of the family mamba9 yet; it runs exaone4"
    )
    assert found.n_parameters == 303 * 48 + 2 * (13856 + 11520 + 96) + 48


def test_tokens_that_are_not_there(package: Path) -> None:
    change(package / "generation_config.json", eos_token_id=[2, 999])
    change(package / "config.json", vocab_size=300)
    problems = look_over(open_package(package)).problems
    assert "stop id 999 is outside the vocabulary of 303 tokens" in problems
    assert "the tokenizer has 303 tokens, the embedding 300 rows" in problems


def test_templates_that_are_missing_wrong_or_forgetful(package: Path) -> None:
    template = package / "chat_template.jinja"
    template.write_text("{% for m in messages[-1:] %}{{ m.content }}{% endfor %}")
    report = look_over(open_package(package))
    assert report.template is not None
    assert report.template.continues_cache is False
    assert any(warning.startswith("turns do not continue the KV cache") for warning in report.warnings)
    template.write_text("{{ messages | nonsense }}")
    assert any("chat template" in problem for problem in look_over(open_package(package)).problems)
    template.unlink()
    assert look_over(open_package(package)).template is None
    assert any("without a chat template" in warning for warning in look_over(open_package(package)).warnings)


def test_fused_projections_are_counted_once(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", "gpt2", dtypes.Q8_0)
    found = look_over(open_package(tmp_path / "m.gguf"))
    attention = next(kind for kind in found.kinds if kind.name == "attention")
    assert attention.formats == {"Q8_0": 2 * 2, "F32": 2 * 2}  # c_attn and c_proj of two layers, and their biases
    assert attention.n_parameters == 2 * (4 * 256 * 256 + 4 * 256)
    assert (found.problems, found.stop_tokens) == ([], {})
