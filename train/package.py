"""Writes pico as an ordinary Hugging Face package, with a card that says what it is and how well it does."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizer import END_OF_TEXT
from tokenizers import Tokenizer

_RESULTS = "training.json"

_AVERAGED = """
* **Averaged**: {:.0f} % of each weight is from the end of that training, the rest from before its last part; training
  losses below are of the end."""
_CARD = """\
# pico

The model embedded in nearlight, so that the first run needs no download. It completes Python source, and knows
nothing else: {parameters:.1f} M parameters ({embedding:.1f} M of them the embedding, which is also the output head),
Qwen3 architecture, context {context}, bfloat16.

* **Trained on** {n_files} source files of the Python {version} standard library and of packages (below), through
  nearlight's own reference kernels (`train/pico.py`): {tokens:.1f} M tokens in {minutes:.0f} minutes on {processor}
  that had other work as well.{averaged}
* **Nested feed-forward layers** (MatFormer): the first half of each FFN (`intermediate_size` {half}) is a weaker model
  of its own, made for drafting. At {agreement:.0f} % of the held-out places it chooses the token that the whole does.
* **Held out**: {held_out_files}, never trained on (nor their tests); the text is `train/held_out.txt`.

| loss, nats a token | training (moving average) | held out | held-out perplexity | bits a byte |
|---|---|---|---|---|
| full | {train_full:.3f} | {held_out_full:.3f} | {perplexity_full:.2f} | {bits_full:.3f} |
| half | {train_half:.3f} | {held_out_half:.3f} | {perplexity_half:.2f} | {bits_half:.3f} |

It repeats its training text where that is likely, and its code is not to be trusted to run.

**Licence.** The weights come with nearlight under Apache-2.0. They were learned from the Python standard library,
which is © Python Software Foundation and licensed under the PSF License Agreement version 2
(https://docs.python.org/3/license.html), and from packages that nearlight, its build or its tests use, each © its
authors, without their tests:

{packages}
"""


def write_package(
    directory: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: Tokenizer,
    results: Mapping[str, float],
    n_files: int,
    processor: str,
) -> None:
    """Write config, weights, tokenizer, generation defaults, what was reached, and the card that tells it."""
    from corpus import HELD_OUT, PACKAGES

    directory.mkdir(parents=True, exist_ok=True)
    end = tokenizer.token_to_id(END_OF_TEXT)
    _write_json(directory / "config.json", {**config, "bos_token_id": None, "eos_token_id": end})
    _write_json(
        directory / "generation_config.json",
        {"eos_token_id": end, "do_sample": True, "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.2},
    )
    _write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "eos_token": END_OF_TEXT,
            "model_max_length": config["max_position_embeddings"],
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
        },
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    save_file({name: w.contiguous() for name, w in weights.items()}, directory / "model.safetensors", {"format": "pt"})

    _write_json(directory / _RESULTS, dict(results))

    sizes = {name: weight.numel() for name, weight in weights.items()}
    bits_per_nat = 1 / math.log(2) / results["held_out_bytes_per_token"]
    card = _CARD.format(
        parameters=sum(sizes.values()) / 1e6,
        embedding=sum(n for name, n in sizes.items() if "embed" in name) / 1e6,
        context=config["max_position_embeddings"],
        half=config["intermediate_size"] // 2,
        n_files=n_files,
        version=_python_version(),
        held_out_files=", ".join(f"`{name}`" for name in HELD_OUT),
        tokens=results["tokens"] / 1e6,
        minutes=results["minutes"],
        processor=processor,
        averaged=_AVERAGED.format(100 * results["averaged"]) if results.get("averaged") else "",
        agreement=100 * results["agreement"],
        train_full=results["train_full"],
        train_half=results["train_half"],
        held_out_full=results["held_out_full"],
        held_out_half=results["held_out_half"],
        perplexity_full=math.exp(results["held_out_full"]),
        perplexity_half=math.exp(results["held_out_half"]),
        bits_full=bits_per_nat * results["held_out_full"],
        bits_half=bits_per_nat * results["held_out_half"],
        packages="\n".join(f"* {licence}: {_names(packages)}" for licence, packages in PACKAGES.items()),
    )
    (directory / "README.md").write_text(card, encoding="utf-8")


def read_results(directory: Path) -> dict[str, float]:
    """Read what a package's training took and reached, as `write_package` was given it."""
    results: dict[str, float] = json.loads((directory / _RESULTS).read_text(encoding="utf-8"))
    return results


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _names(packages: Iterable[str]) -> str:
    """List packages by the names they are installed under, folded as the rest of the card is."""
    installed = packages_distributions()
    names = sorted({installed[package][0] for package in packages if package in installed}, key=str.lower)
    return textwrap.fill(", ".join(names), 115, initial_indent="  ", subsequent_indent="  ").strip()


def _python_version() -> str:
    import platform

    return ".".join(platform.python_version_tuple()[:2])
