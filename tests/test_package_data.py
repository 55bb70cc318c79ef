"""What is installed besides code: the embedded model with its card, the type marker, and what comes along."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from pathlib import Path

MAX_PICO_BYTES = 25_000_000


def test_embedded_model_is_whole_and_small():
    pico = files("nearlight") / "pico"
    sizes = {entry.name: len(entry.read_bytes()) for entry in pico.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= sizes.keys()
    assert sum(sizes.values()) <= MAX_PICO_BYTES


def test_card_names_the_licence_of_what_pico_learned_from():
    card = (files("nearlight") / "pico/README.md").read_text()
    assert "PSF License" in card
    assert "Held out" in card


def test_types_are_offered_to_those_who_import():
    assert (files("nearlight") / "py.typed").is_file()


def test_installation_needs_no_torch():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    names = {re.match(r"\w+", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"numpy", "tokenizers", "huggingface_hub", "jinja2", "pygments", "prompt_toolkit"}
