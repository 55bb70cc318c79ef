"""Other engines on the same model, the same threads and the same workloads, in turns with this one.

    llama.cpp      the package llama-cpp-python; a GGUF file, written from the same weights if there is none
    transformers   the package transformers; the same shape in bfloat16, which is what it computes in
    openvino       the package openvino; a model exported for it

Each runs in a process of its own (`process` starts it, `child` is its other end), since two engines in one process
would share thread pools and allocators. None of them is a dependency: what is not installed is said in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """An engine to compare with: the module that its process runs, and the package that this needs."""

    name: str
    child: str
    package: str
    install: str


_CHILDREN = "nearlight.bench.peers"

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("llama.cpp", f"{_CHILDREN}.llama_cpp_child", "llama_cpp", "pip install llama-cpp-python"),
        Peer("transformers", f"{_CHILDREN}.transformers_child", "transformers", "pip install transformers torch"),
        Peer("openvino", f"{_CHILDREN}.openvino_child", "openvino", "pip install openvino"),
    )
}
