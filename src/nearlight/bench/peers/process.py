"""Starts peers as processes below this one, and makes runners of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nearlight.bench.model import ModelSpec
from nearlight.bench.peers.gguf_file import write_gguf
from nearlight.bench.runner import Workload
from nearlight.errors import RequestError


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


@dataclass(frozen=True)
class PeerSetup:
    """What every peer is started with. Units: tokens of context. `models` are files by a peer's name."""

    spec: ModelSpec
    threads: int
    context: int
    vocab_size: int
    models: Mapping[str, Path]


class PeerProcess:
    """A peer in its process; a runner, as this engine has one. Raises: RequestError with what it says went wrong."""

    def __init__(self, peer: Peer, request: dict[str, Any]) -> None:
        self.name = peer.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", peer.child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            loaded = self._ask({"load": request})
        except RequestError:
            self.close()
            raise
        self.weights = str(loaded["weights"])

    def prepare(self, workload: Workload) -> None:
        self._ask({"prepare": asdict(workload)})

    def run(self) -> int:
        return int(self._ask({"run": {}})["ns"])

    def close(self) -> None:
        """End the process; its stdin ends, so it ends by itself unless it hangs."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.close()
            self._process.wait(timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise RequestError(self.name, found=f"its process ended (exit code {self._process.wait()})")
        response: dict[str, Any] = json.loads(line)
        if "error" in response:
            raise RequestError(self.name, found=response["error"])
        return response


def unavailable(name: str, models: Mapping[str, Path]) -> str | None:
    """Say in a line why a peer cannot take part here; None if it can. Raises: RequestError for an unknown name."""
    if name not in PEERS:
        raise RequestError("--vs", expected="some of " + ", ".join(PEERS), found=repr(name))
    peer = PEERS[name]
    if find_spec(peer.package) is None:
        return f"{name} is not installed, so it is left out; `{peer.install}`"
    if name == "openvino" and name not in models:
        return "openvino is left out: it needs an exported model; --peer-model openvino=DIRECTORY"
    return None


@contextmanager
def started(names: Sequence[str], setup: PeerSetup) -> Iterator[list[PeerProcess]]:
    """Start peers, with a model each, and end them afterwards.

    Raises: RequestError when one cannot load its model.
    """
    peers: list[PeerProcess] = []
    with tempfile.TemporaryDirectory(prefix="nearlight-bench-") as directory:
        try:
            for name in names:
                peers.append(PeerProcess(PEERS[name], _load_request(name, setup, Path(directory))))  # noqa: PERF401
            yield peers
        finally:
            for peer in peers:
                peer.close()


def _load_request(name: str, setup: PeerSetup, directory: Path) -> dict[str, Any]:
    """Tell a peer what to load, writing a file for it where it needs one."""
    spec = setup.spec
    request = {
        "threads": setup.threads,
        "context": setup.context,
        "vocab_size": setup.vocab_size,
        "weights": spec.weights,
        "config": dict(spec.config),
    }
    if name in setup.models:
        request["model"] = str(setup.models[name])
        request["weights"] = setup.models[name].name
    elif name == "llama.cpp":
        package = spec.package
        reads_it = package is not None and package.kind == "gguf" and not spec.requantized
        request["model"] = str(package.files[0] if package and reads_it else write_gguf(spec, directory))
    return request
