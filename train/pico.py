"""Train pico, the embedded model: a small Qwen3-architecture model that completes Python.

It learns from the source of the Python standard library found on this machine, through nearlight's own reference
kernels: the forward that is trained is the forward that is served. Its feed-forward layers are trained nested
(MatFormer, arXiv:2310.07707): in every step part of the batch goes through the first half of each FFN only, so that
this half alone is a weaker model of its own.

    python train/pico.py --minutes 90

writes an ordinary Hugging Face package to src/nearlight/pico/ and the held-out text beside this file.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name everyone knows
from corpus import Corpus, read_corpus
from package import write_package
from tokenizer import END_OF_TEXT, train_tokenizer

from nearlight.cache.kv import NoCache
from nearlight.kernels.ops import Rows
from nearlight.kernels.reference import ReferenceOps, TorchWeight
from nearlight.layers.decoder import Decoder
from nearlight.models import build_model

CONTEXT = 1024
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "use_sliding_window": False,
    "dtype": "bfloat16",
}


@dataclass(frozen=True)
class Recipe:
    """Tokens a step, the share of sequences that go through the half model, and the learning rates."""

    tokens_per_step: int = 8192
    half_share: float = 0.375
    long_after: float = 0.75
    """Before this part of the run, sequences are half as long as the context: attention is cheaper."""
    matrix_rate: float = 3e-3
    embedding_rate: float = 3e-3
    warmup: float = 0.01
    decay: float = 0.4
    """The last part of the run, in which the learning rate falls linearly to a twentieth."""


class Nested:
    """One set of weights seen as two models: whole, and with the first half of every FFN."""

    def __init__(self) -> None:
        self.ops = ReferenceOps()
        self.full = build_model(self.ops, CONFIG)
        self.half = build_model(self.ops, {**CONFIG, "intermediate_size": int(CONFIG["intermediate_size"]) // 2})
        self.weights = {p.name: _initial(p.name, p.shape) for p in self.full.parameters()}

    def logits(self, model: Decoder, ids: torch.Tensor) -> torch.Tensor:
        """Shapes: ids [B, T] -> [B * T, V]."""
        for parameter in model.parameters():
            tensor = self.weights[parameter.name][tuple(slice(size) for size in parameter.shape)]
            parameter.value = TorchWeight(parameter.name, tensor) if parameter.is_matrix else tensor
        batch, length = ids.shape
        rows = Rows(
            tokens=ids.flatten(),
            positions=torch.arange(length).repeat(batch),
            sequences=torch.arange(batch).repeat_interleave(length),
            wanted=torch.arange(batch * length),
        )
        return model(rows, NoCache(self.ops, int(CONFIG["head_dim"]), length))

    def loss(self, model: Decoder, ids: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood in nats a token. Shapes: ids [B, T + 1]."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.logits(model, ids[:, :-1])
        return F.cross_entropy(logits.float(), ids[:, 1:].flatten())


def _initial(name: str, shape: tuple[int, ...]) -> torch.nn.Parameter:
    if len(shape) == 1:
        return torch.nn.Parameter(torch.ones(shape))
    deviation = 0.02 if "embed" in name else 0.5 / math.sqrt(shape[1])
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        deviation /= math.sqrt(2 * int(CONFIG["num_hidden_layers"]))
    return torch.nn.Parameter(torch.randn(shape) * deviation)


def train(model: Nested, corpus: Corpus, recipe: Recipe, minutes: float, save: Path, seed: int = 0) -> dict[str, float]:
    """Train until the time is up, saving now and then; return what the card reports."""
    generator = np.random.default_rng(seed)
    hidden = [w for name, w in model.weights.items() if w.dim() == 2 and "embed" not in name]
    others = [w for name, w in model.weights.items() if w.dim() == 1 or "embed" in name]
    optimizers = [
        torch.optim.Muon(hidden, lr=recipe.matrix_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=recipe.embedding_rate, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    loss = torch.compile(model.loss, dynamic=False)
    started = last_saved = last_shown = time.monotonic()
    step, recent = 0, {"full": math.nan, "half": math.nan}
    while (done := (time.monotonic() - started) / (60 * minutes)) < 1:
        factor = min(done / recipe.warmup, 1.0, 0.05 + 0.95 * (1 - done) / recipe.decay)
        for group, rate in zip((g for o in optimizers for g in o.param_groups), rates, strict=True):
            group["lr"] = rate * factor
        length = CONTEXT if done > recipe.long_after else CONTEXT // 2
        ids = torch.from_numpy(corpus.batch(generator, recipe.tokens_per_step // length, length + 1))
        n_half = round(recipe.half_share * len(ids))
        losses = {"full": loss(model.full, ids[n_half:]), "half": loss(model.half, ids[:n_half])}
        (losses["full"] * (1 - recipe.half_share) + losses["half"] * recipe.half_share).backward()
        torch.nn.utils.clip_grad_norm_(list(model.weights.values()), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        step += 1
        for name, value in losses.items():
            recent[name] = value.item() if math.isnan(recent[name]) else 0.98 * recent[name] + 0.02 * value.item()
        now = time.monotonic()
        if now - last_shown > 20:
            tokens = step * recipe.tokens_per_step
            print(
                f"{done:6.1%} step {step} {tokens / 1e6:.2f} M tokens {tokens / (now - started):.0f}/s "
                f"loss {recent['full']:.3f} half {recent['half']:.3f}",
                flush=True,
            )
            last_shown = now
        if now - last_saved > 600:
            torch.save(model.weights, save)
            last_saved = now
    return {
        "tokens": step * recipe.tokens_per_step,
        "minutes": (time.monotonic() - started) / 60,
        "train_full": recent["full"],
        "train_half": recent["half"],
    }


def held_out_loss(model: Nested, which: Decoder, ids: np.ndarray) -> float:
    """Mean negative log-likelihood over the held-out text, in windows that overlap by half. Units: nats a token."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, CONTEXT // 2):
            window = torch.from_numpy(ids[start : start + CONTEXT + 1].astype(np.int64))[None]
            logits = model.logits(which, window[:, :-1]).float()
            losses = F.cross_entropy(logits, window[0, 1:], reduction="none")
            fresh = losses if start == 0 else losses[CONTEXT // 2 :]
            total, count = total + fresh.sum().item(), count + len(fresh)
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src" / "nearlight" / "pico")
    parser.add_argument("--work", type=Path, default=Path(__file__).parents[1] / "build" / "pico")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    sources = read_corpus()
    held_out_file = Path(__file__).parent / "held_out.txt"
    held_out_file.write_text(sources.held_out, encoding="utf-8")
    tokenizer = train_tokenizer(sources.training, int(CONFIG["vocab_size"]))
    corpus = Corpus.encode(sources.training, tokenizer, end=tokenizer.token_to_id(END_OF_TEXT))
    print(f"{len(sources.training)} files, {len(corpus.ids) / 1e6:.2f} M tokens", flush=True)

    model = Nested()
    results = train(model, corpus, Recipe(), arguments.minutes, arguments.work / "weights.pt")
    weights = {name: weight.detach().to(torch.bfloat16) for name, weight in model.weights.items()}
    model.weights = {name: torch.nn.Parameter(weight.float()) for name, weight in weights.items()}
    held_out = np.asarray(tokenizer.encode(sources.held_out).ids)
    for name, which in (("full", model.full), ("half", model.half)):
        results[f"held_out_{name}"] = held_out_loss(model, which, held_out)
    results["held_out_bytes_per_token"] = len(sources.held_out.encode()) / len(held_out)
    write_package(arguments.out, CONFIG, weights, tokenizer, results, n_files=len(sources.training))
    print(results)


if __name__ == "__main__":
    main()
