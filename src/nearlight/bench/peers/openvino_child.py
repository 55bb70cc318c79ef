"""OpenVINO, in a process of its own: a stateful model as optimum-intel exports it. Source: docs.openvino.ai."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nearlight.bench.peers.child import serve


class OpenVino:
    """An exported model (`openvino_model.xml`) on the CPU; its state is the KV cache."""

    weights = "as exported"

    def __init__(self, request: dict[str, Any]) -> None:
        library = import_module("openvino")
        path = Path(request["model"])
        path = path / "openvino_model.xml" if path.is_dir() else path
        threads = {"INFERENCE_NUM_THREADS": request["threads"], "PERFORMANCE_HINT": "LATENCY"}
        compiled = library.Core().compile_model(str(path), "CPU", threads)
        self._inputs = {name for port in compiled.inputs for name in port.names}
        self._request = compiled.create_infer_request()
        self._held = 0
        self._saved: tuple[int, list[Any]] = 0, []
        self.vocab_size = int(request["vocab_size"])

    def rewind(self, n_tokens: int) -> None:
        """Go back to a state that was saved here before: only the depth of a workload is ever asked for."""
        if n_tokens == 0:
            self._request.reset_state()
        elif self._saved[0] == n_tokens:
            for state, tensor in zip(self._request.query_state(), self._saved[1], strict=True):
                state.state = tensor
        elif self._held == n_tokens:
            tensor_type = import_module("openvino").Tensor
            copies = [tensor_type(state.state.data.copy()) for state in self._request.query_state()]
            self._saved = n_tokens, copies
        else:
            raise ValueError(f"no state of {n_tokens} tokens was saved")
        self._held = n_tokens

    def forward(self, tokens: Sequence[int]) -> None:
        start, stop = self._held, self._held + len(tokens)
        values = {
            "input_ids": np.array([tokens], np.int64),
            "attention_mask": np.ones((1, stop), np.int64),
            "position_ids": np.arange(start, stop, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._request.infer({name: value for name, value in values.items() if name in self._inputs})
        self._held = stop


if __name__ == "__main__":
    serve(OpenVino)
