"""transformers on PyTorch, in a process of its own: the same shape with random weights, in bfloat16."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from nearlight.bench.peers.child import serve


class Transformers:
    """A model of a config. Speeds do not depend on weights, so a package's need not be read for this."""

    weights = "bf16"

    def __init__(self, request: dict[str, Any]) -> None:
        library, self._torch = import_module("transformers"), import_module("torch")
        self._torch.set_num_threads(request["threads"])
        config = dict(request["config"])
        config = library.AutoConfig.for_model(config.pop("model_type"), **config)
        self._model = library.AutoModelForCausalLM.from_config(config, dtype=self._torch.bfloat16).eval()
        self._cache = library.DynamicCache()
        self.vocab_size = int(request["vocab_size"])

    def rewind(self, n_tokens: int) -> None:
        if self._cache.get_seq_length() > n_tokens:
            self._cache.crop(n_tokens - self._cache.get_seq_length())

    def forward(self, tokens: Sequence[int]) -> None:
        with self._torch.inference_mode():
            ids = self._torch.tensor([list(tokens)])
            self._model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)


if __name__ == "__main__":
    serve(Transformers)
