"""The embedded model: an ordinary package, small, nested, and the same from a GGUF file."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import nearlight
from nearlight.dtypes import Q8_0
from nearlight.engine.engine import Engine
from nearlight.kernels.cpu import CpuOps
from nearlight.loading.binding import bind
from nearlight.models import build_model
from nearlight.package import open_package
from tests.models.gguf_models import convert, quantized
from tests.models.random_models import relative_error, transformers_logits

PICO = Path(nearlight.__file__).parent / "pico"
HELD_OUT = Path(__file__).parents[2] / "train" / "held_out.txt"
PROMPTS = ["def fibonacci(n):\n", "import os\nimport sys\n\n", "class Stack:\n    def __init__(self", "    return "]


@pytest.fixture(scope="module")
def model() -> nearlight.LanguageModel:
    return nearlight.load(PICO)


def loss(logits: np.ndarray, ids: list[int]) -> float:
    """Mean negative log-likelihood of each next id, in nats. Shapes: logits [T, V], ids [T]."""
    logits = logits[:-1].astype(np.float64)
    total = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
    return float(np.mean(total - logits[np.arange(len(logits)), ids[1:]]))


def test_logits_equal_transformers(model: nearlight.LanguageModel) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(PICO, dtype=torch.float32)
    ids = model.tokenizer.encode(HELD_OUT.read_text()[:600])
    assert relative_error(model.logits(ids), transformers_logits(theirs, ids)) <= 2e-2


def test_tokens_equal_transformers(model: nearlight.LanguageModel) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(PICO)
    text = HELD_OUT.read_text()[:20000]
    assert model.tokenizer.encode(text) == theirs.encode(text)


def test_it_fits_the_wheel() -> None:
    assert sum(file.stat().st_size for file in PICO.iterdir()) <= 25e6


def test_the_card_tells_the_loss_of_both_models(model: nearlight.LanguageModel) -> None:
    """The half model, cut from the stored tensors, is weaker than the whole, and both know Python."""
    package = open_package(PICO)
    ids = model.tokenizer.encode(HELD_OUT.read_text()[:9000])[:1024]
    whole = loss(model.logits(ids), ids)
    width = int(package.config["intermediate_size"])
    ops = CpuOps()
    half = build_model(ops, {**package.config, "intermediate_size": width // 2})
    halves = dict(package.tensors)
    for name, tensor in package.tensors.items():
        if name.endswith(("gate_proj.weight", "up_proj.weight")):
            halves[name] = tensor.part(0, width // 2)
        elif name.endswith("down_proj.weight"):
            first = np.ascontiguousarray(tensor.read()[:, : tensor.format.row_bytes(width // 2)])
            halves[name] = tensor.from_bytes(name, tensor.format, (tensor.shape[0], width // 2), first)
    bind(half, nearlight.package.Package(**{**vars(package), "tensors": halves}), ops)
    engine = Engine(half, ops)
    sequence = engine.open()
    engine.extend(sequence, ids)
    weaker = loss(engine.logits(sequence), ids)
    assert whole < weaker < math.log(8192) / 2
    card = (PICO / "README.md").read_text()
    assert "| full |" in card
    assert "| half |" in card


@pytest.mark.parametrize("prompt", PROMPTS)
def test_q8_0_takes_the_same_greedy_path(tmp_path: Path, prompt: str) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(PICO, dtype=torch.float32)
    tokenizer = json.loads((PICO / "tokenizer.json").read_text())
    theirs = convert(tmp_path / "pico.gguf", "qwen3", theirs, Q8_0, quantized(Q8_0), tokenizer)
    model = nearlight.load(tmp_path / "pico.gguf")
    completion = model.generate(prompt, max_tokens=32, temperature=0)
    ids = torch.tensor([model.render(prompt).ids])
    wanted = theirs.generate(ids, max_new_tokens=32, do_sample=False, repetition_penalty=1.0)[0]
    for at, (found, best) in enumerate(zip(completion.token_ids, wanted[ids.shape[1] :].tolist(), strict=False)):
        if found != best:  # activations of 8 bits decide a tie otherwise, and the paths part
            with torch.no_grad():
                logits = theirs(wanted[None, : ids.shape[1] + at]).logits[0, -1]
            assert logits[best] - logits[found] < 0.15
            assert at >= 8
            break
