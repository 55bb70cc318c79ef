"""llama.cpp through llama-cpp-python, in a process of its own. Source: github.com/abetlen/llama-cpp-python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from nearlight.bench.peers.child import serve


class LlamaCpp:
    """A GGUF file on the CPU. Prompts go in batches of 512, as llama-bench's do, with flash attention."""

    def __init__(self, request: dict[str, Any]) -> None:
        library = import_module("llama_cpp")  # by name: an engine to compare with is no dependency
        self.weights = str(request["weights"])
        self._model = library.Llama(
            str(Path(request["model"])),
            n_ctx=request["context"],
            n_batch=512,
            n_ubatch=512,
            n_threads=request["threads"],
            n_threads_batch=request["threads"],
            n_gpu_layers=0,
            flash_attn=True,
            verbose=False,
        )
        self.vocab_size = int(request["vocab_size"])

    def rewind(self, n_tokens: int) -> None:
        self._model.n_tokens = n_tokens  # `eval` forgets what lies beyond

    def forward(self, tokens: Sequence[int]) -> None:
        self._model.eval(tokens)


if __name__ == "__main__":
    serve(LlamaCpp)
