"""Starts peers as processes below this one, and makes contestants of them."""

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

from nearlight.bench.gguf_file import write_gguf
from nearlight.bench.peers import PEERS, Peer
from nearlight.bench.subject import Description
from nearlight.bench.workload import Workload
from nearlight.errors import RequestError


@dataclass(frozen=True)
class Arena:
    """What all contestants have in common. Units: tokens of context. `models` are files by a peer's name."""

    description: Description
    threads: int
    context: int
    vocab_size: int
    models: Mapping[str, Path]


class PeerProcess:
    """A peer in its process; a contestant like this engine. Raises: RequestError with what it says went wrong."""

    def __init__(self, peer: Peer, order: dict[str, Any]) -> None:
        self.name = peer.name
        self._process = subprocess.Popen(
            [sys.executable, "-m", peer.child],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            loaded = self._ask({"load": order})
        except RequestError:
            self.close()
            raise
        self.weights = str(loaded["weights"])
        self.version = str(loaded["version"])

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

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise RequestError(self.name, found=f"its process ended (exit code {self._process.wait()})")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RequestError(self.name, found=answer["error"])
        return answer


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
def started(names: Sequence[str], arena: Arena) -> Iterator[list[PeerProcess]]:
    """Start peers, with a model each, and end them afterwards.

    Raises: RequestError when one cannot load its model.
    """
    peers: list[PeerProcess] = []
    with tempfile.TemporaryDirectory(prefix="nearlight-bench-") as directory:
        try:
            for name in names:
                peers.append(PeerProcess(PEERS[name], _order(name, arena, Path(directory))))  # noqa: PERF401
            yield peers
        finally:
            for peer in peers:
                peer.close()


def _order(name: str, arena: Arena, directory: Path) -> dict[str, Any]:
    """Tell a peer what to load, writing a file for it where it needs one."""
    description = arena.description
    order = {
        "threads": arena.threads,
        "context": arena.context,
        "vocab_size": arena.vocab_size,
        "weights": description.weights,
        "config": dict(description.config),
    }
    if name in arena.models:
        order["model"] = str(arena.models[name])
        order["weights"] = arena.models[name].name
    elif name == "llama.cpp":
        package = description.package
        reads_it = package is not None and package.kind == "gguf" and not description.requantized
        order["model"] = str(package.files[0] if package and reads_it else write_gguf(description, directory))
    return order
