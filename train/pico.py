"""Train pico, the embedded model: a small Qwen3-architecture model that completes Python.

It learns from the Python sources that the interpreter comes with (the standard library, and packages whose licences
allow it: see corpus.py), through nearlight's own reference kernels: the forward that is trained is the one that is
served. Its feed-forward layers are trained nested (MatFormer, arXiv:2310.07707): in every step part of the batch goes
through the first half of each FFN only, so that this half alone is a weaker model of its own.

    python train/pico.py --tokens 30e6 [--device cuda]

writes an ordinary Hugging Face package to src/nearlight/pico/ and the held-out text beside this file. Stopped, the same
command goes on from the last checkpoint, which is saved every five minutes. With `--start PACKAGE`, so many more tokens
are learned from the weights of a package that was trained before; its tokenizer is kept. `--average PACKAGE SHARE`
takes that share of them from another package first, as a rule one that this one was continued to; `--tokens 0` then
measures and writes the average. `--rate` is a factor on the learning rates.
"""

from __future__ import annotations

import argparse
import math
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, the name everyone knows
from corpus import Corpus, read_corpus
from package import read_results, write_package
from safetensors.torch import load_file
from tokenizer import END_OF_TEXT, read_tokenizer, train_tokenizer

from nearlight.kernels.ops import Rows
from nearlight.kernels.reference import ReferenceOps, TorchWeight
from nearlight.layers.parameters import Parameter
from nearlight.models import build_model
from nearlight.models.model import Model
from nearlight.state.cache import NoCache

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
    """What a step is made of, and how it changes over the run. Two runs of one recipe take the same steps."""

    n_tokens: float
    tokens_per_step: int = 8192
    half_share: float = 1 / 64
    """Sequences that go through the half model. More make it as good as the whole, which nobody needs to draft."""
    lengths: tuple[tuple[float, int], ...] = ((0.5, 256), (0.85, 512), (1.0, CONTEXT))
    """Until which part of the run sequences are how long: attention over short ones is cheaper."""
    matrix_rate: float = 3e-3
    embedding_rate: float = 3e-3
    warmup: float = 0.01
    decay: float = 0.45
    """The last part of the run, in which the learning rate falls linearly to a fiftieth."""

    @property
    def n_steps(self) -> int:
        return round(self.n_tokens / self.tokens_per_step)

    def rate_factor(self, done: float) -> float:
        """What the learning rates are multiplied by when so much of the run is done."""
        return min((done + 1e-4) / self.warmup, 1.0, 0.02 + 0.98 * (1 - done) / self.decay)

    def length(self, done: float) -> int:
        return next(length for until, length in self.lengths if done < until)


class Nested:
    """One set of weights seen as two models: whole, and with the first half of every FFN."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.ops = ReferenceOps(device)
        self.full = build_model(self.ops, CONFIG)
        self.half = build_model(self.ops, {**CONFIG, "intermediate_size": int(CONFIG["intermediate_size"]) // 2})
        self.weights = {p.name: _initial(p, self.device) for p in self.full.parameters()}

    def take(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Replace the weights' values."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(weights[name])

    def logits(self, model: Model, ids: torch.Tensor) -> torch.Tensor:
        """Shapes: ids [B, T] -> [B * T, V]."""
        for parameter in model.parameters():
            tensor = self.weights[parameter.name][tuple(slice(size) for size in parameter.shape)]
            parameter.value = TorchWeight(parameter.name, tensor) if parameter.is_matrix else tensor
        batch, length = ids.shape
        rows = Rows(
            tokens=ids.flatten(),
            positions=torch.arange(length, device=self.device).repeat(batch),
            sequences=torch.arange(batch, device=self.device).repeat_interleave(length),
            logit_rows=torch.arange(batch * length, device=self.device),
        )
        return model(rows, NoCache(self.ops, length))

    def loss(self, model: Model, ids: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood in nats a token. Shapes: ids [B, T + 1]."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.logits(model, ids[:, :-1])
        return F.cross_entropy(logits.float(), ids[:, 1:].flatten())


def _initial(parameter: Parameter, device: torch.device) -> torch.nn.Parameter:
    shape = parameter.shape
    if parameter.role == "norm":
        return torch.nn.Parameter(torch.ones(shape, device=device))
    deviation = 0.02 if parameter.role == "embedding" else 0.5 / math.sqrt(shape[1])
    if parameter.name.endswith(("o_proj.weight", "down_proj.weight")):  # what is added to the residual stream
        deviation /= math.sqrt(2 * int(CONFIG["num_hidden_layers"]))
    return torch.nn.Parameter((torch.randn(shape) * deviation).to(device))


class Training:
    """A run between two steps: weights, optimizers and what has been seen, saved and resumed together."""

    def __init__(self, model: Nested, corpus: Corpus, recipe: Recipe, checkpoint: Path) -> None:
        self.model, self.corpus, self.recipe, self.checkpoint = model, corpus, recipe, checkpoint
        parameters = list(model.full.parameters())
        hidden = [model.weights[p.name] for p in parameters if p.role in ("attention", "mlp")]
        others = [model.weights[p.name] for p in parameters if p.role in ("embedding", "norm")]
        self.optimizers = [
            torch.optim.Muon(hidden, lr=recipe.matrix_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=recipe.embedding_rate, weight_decay=0.0, betas=(0.9, 0.95)),
        ]
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.n_steps, self.seconds, self.recent = 0, 0.0, {"full": math.nan, "half": math.nan}
        self.loss = torch.compile(model.loss, dynamic=False)

    def run(self) -> None:
        """Take the steps that are left, saving now and then: a run that is stopped goes on from its last save.

        Ctrl-C saves after the step under way. Raises: KeyboardInterrupt then.
        """
        stopped = threading.Event()
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        last = last_saved = last_shown = time.monotonic()
        while self.n_steps < self.recipe.n_steps:
            if stopped.is_set():
                self.save()
                raise KeyboardInterrupt
            self.step()
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if now - last_shown > 20:
                self.show()
                last_shown = now
            if now - last_saved > 300:
                self.save()
                last_saved = now
        self.save()

    def step(self) -> None:
        """Learn from one batch, which its number and the seed decide."""
        recipe, done = self.recipe, self.n_steps / self.recipe.n_steps
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * recipe.rate_factor(done)
        length = recipe.length(done)
        batch = self.corpus.batch(np.random.default_rng(self.n_steps), recipe.tokens_per_step // length, length + 1)
        ids = torch.from_numpy(batch).to(self.model.device)
        n_half = max(1, round(recipe.half_share * len(ids)))
        losses = {"full": self.loss(self.model.full, ids[n_half:]), "half": self.loss(self.model.half, ids[:n_half])}
        (losses["full"] * (1 - recipe.half_share) + losses["half"] * recipe.half_share).backward()
        torch.nn.utils.clip_grad_norm_(list(self.model.weights.values()), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.n_steps += 1
        for name, loss in losses.items():
            before = self.recent[name]
            self.recent[name] = loss.item() if math.isnan(before) else 0.98 * before + 0.02 * loss.item()

    def show(self) -> None:
        tokens = self.n_steps * self.recipe.tokens_per_step
        print(
            f"{self.n_steps / self.recipe.n_steps:6.1%} step {self.n_steps} {tokens / 1e6:.2f} M tokens "
            f"{tokens / self.seconds:.0f}/s loss {self.recent['full']:.3f} half {self.recent['half']:.3f}",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint; a stop while writing leaves the one before."""
        state = {
            "recipe": asdict(self.recipe),
            "weights": {name: weight.detach() for name, weight in self.model.weights.items()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "n_steps": self.n_steps,
            "seconds": self.seconds,
            "recent": self.recent,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint. Raises: SystemExit if it is of another recipe."""
        state = torch.load(self.checkpoint, map_location=self.model.device, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise SystemExit(
                f"{self.checkpoint}: made with another recipe ({state['recipe']}); delete it, or ask for the same"
            )
        self.model.take(state["weights"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.n_steps, self.seconds, self.recent = state["n_steps"], state["seconds"], state["recent"]


def held_out_loss(model: Nested, which: Model, ids: np.ndarray) -> float:
    """Mean negative log-likelihood over the held-out text, in windows that overlap by half. Units: nats a token."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ids) - 1, CONTEXT // 2):
            window = torch.from_numpy(ids[start : start + CONTEXT + 1].astype(np.int64))[None].to(model.device)
            logits = model.logits(which, window[:, :-1]).float()
            losses = F.cross_entropy(logits, window[0, 1:], reduction="none")
            fresh = losses if start == 0 else losses[CONTEXT // 2 :]
            total, count = total + fresh.sum().item(), count + len(fresh)
    return total / count


def greedy_agreement(model: Nested, ids: np.ndarray) -> float:
    """Tell at what share of the held-out places half and whole would choose the same token."""
    same, count = 0, 0
    with torch.inference_mode():
        for start in range(0, len(ids) - CONTEXT, CONTEXT):
            window = torch.from_numpy(ids[start : start + CONTEXT].astype(np.int64))[None].to(model.device)
            chosen = [model.logits(which, window).argmax(-1) for which in (model.full, model.half)]
            same, count = same + int((chosen[0] == chosen[1]).sum()), count + CONTEXT
    return same / count


def _weights_of(start: Path, average: tuple[str, str] | None) -> Mapping[str, torch.Tensor]:
    weights = {name: weight.float() for name, weight in load_file(start / "model.safetensors").items()}
    if not average:
        return weights
    other, share = load_file(Path(average[0]) / "model.safetensors"), float(average[1])
    return {name: (1 - share) * weight + share * other[name].float() for name, weight in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=float, default=30e6)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start", type=Path, metavar="PACKAGE", help="go on from these weights")
    parser.add_argument("--average", nargs=2, metavar=("PACKAGE", "SHARE"), help="with these weights, to this share")
    parser.add_argument("--rate", type=float, default=1.0, help="a factor on the learning rates")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "src" / "nearlight" / "pico")
    parser.add_argument("--work", type=Path, default=Path(__file__).parents[1] / "build" / "pico")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    usual = Recipe(n_tokens=arguments.tokens)
    rates = {name: arguments.rate * getattr(usual, name) for name in ("matrix_rate", "embedding_rate")}
    recipe = replace(usual, **rates)
    sources = read_corpus()
    held_out_file = Path(__file__).parent / "held_out.txt"
    held_out_file.write_text(sources.held_out, encoding="utf-8")
    start = arguments.start
    tokenizer = read_tokenizer(start) if start else train_tokenizer(sources.training, int(CONFIG["vocab_size"]))
    seen = Path(arguments.average[0]) if arguments.average else start
    before = read_results(seen) if seen else {"tokens": 0, "minutes": 0}
    corpus = Corpus.encode(sources, tokenizer, tokenizer.token_to_id(END_OF_TEXT))
    parts = ", ".join(f"{len(ids) / 1e6:.2f} M tokens of {place}" for place, ids in corpus.tokens.items())
    print(f"{len(sources.training)} files: {parts}", flush=True)

    model = Nested(arguments.device)
    if start:
        model.take(_weights_of(start, arguments.average))
    training = Training(model, corpus, recipe, arguments.work / "checkpoint.pt")
    if training.checkpoint.exists():
        training.resume()
    training.run()

    weights = {name: weight.detach().to(torch.bfloat16).cpu() for name, weight in model.weights.items()}
    model.take(weights)  # what is measured is what is stored
    held_out = np.asarray(tokenizer.encode(sources.held_out).ids)
    results = {
        "tokens": before["tokens"] + training.n_steps * recipe.tokens_per_step,
        "minutes": before["minutes"] + training.seconds / 60,
        "train_full": training.recent["full"] if training.n_steps else before["train_full"],
        "train_half": training.recent["half"] if training.n_steps else before["train_half"],
        "held_out_full": held_out_loss(model, model.full, held_out),
        "held_out_half": held_out_loss(model, model.half, held_out),
        "held_out_bytes_per_token": len(sources.held_out.encode()) / len(held_out),
        "averaged": float(arguments.average[1]) if arguments.average else 0.0,
        "agreement": greedy_agreement(model, held_out),
    }
    processor = "a GPU" if model.device.type == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    write_package(arguments.out, CONFIG, weights, tokenizer, results, len(sources.training), processor)
    print(results)


if __name__ == "__main__":
    main()
