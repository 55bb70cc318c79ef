"""Peers: the conversation with their processes, and what each is asked to do. llama.cpp and OpenVINO are played by
stand-ins with their interfaces, transformers by itself."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nearlight.bench.peers.child import PeerRunner, converse
from nearlight.bench.peers.llama_cpp_child import LlamaCpp
from nearlight.bench.peers.openvino_child import OpenVino
from nearlight.bench.peers.process import PEERS, Peer, PeerProcess, PeerSetup, started, unavailable
from nearlight.bench.peers.transformers_child import Transformers
from nearlight.bench.runner import Workload
from nearlight.errors import RequestError
from nearlight.kernels.count import ACCELERATOR
from nearlight.package import open_package
from tests.bench.tiny import CONFIG, tiny

REQUEST: dict[str, Any] = {"threads": 1, "context": 64, "vocab_size": 320, "weights": "w8", "config": CONFIG}


class Log:
    """A peer that writes down what it is asked to do."""

    weights, vocab_size = "w8", 11

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def rewind(self, n_tokens: int) -> None:
        self.calls.append(("rewind", n_tokens))

    def forward(self, tokens: Sequence[int]) -> None:
        assert set(tokens) <= set(range(11))
        self.calls.append(("forward", len(tokens)))


def talk(*requests: object, load: Any = lambda request: Log()) -> list[dict[str, Any]]:
    responses = io.StringIO()
    converse(load, io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), responses)
    return [json.loads(line) for line in responses.getvalue().splitlines()]


def test_requests_are_answered() -> None:
    loaded, prepared, ran = talk({"load": {}}, {"prepare": {"n_gen": 2, "n_depth": 3}}, {"run": {}})
    assert loaded == {"weights": "w8"}
    assert prepared == {}
    assert ran["ns"] > 0


def test_what_goes_wrong_is_a_response() -> None:
    def fails(request: object) -> Log:
        raise MemoryError("too\nlarge")

    assert talk({"run": {}}) == [{"error": "nothing is loaded"}]
    assert talk({"load": {}}, load=fails) == [{"error": "MemoryError: too large"}]
    assert "a test" in talk({"load": {}}, {"prepare": {}})[1]["error"]


def test_a_depth_is_computed_once_and_gone_back_to() -> None:
    log = Log()
    runner = PeerRunner(log)
    runner.prepare(Workload(n_gen=2, n_depth=5))
    once = [("rewind", 5), ("forward", 1), ("forward", 1)]
    assert log.calls == [("rewind", 0), ("forward", 5), *once]
    runner.run()
    assert log.calls[5:] == once
    log.calls.clear()
    runner.prepare(Workload(n_prompt=7))
    assert log.calls == [("rewind", 0), ("rewind", 0), ("forward", 7)]


def test_a_process_is_asked_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    scripted = Peer("scripted", "tests.bench.scripted_peer", "json", "pip install it")
    peer = PeerProcess(scripted, REQUEST | {"tokens_until_exit": 5})
    assert (peer.name, peer.weights) == ("scripted", "w8")
    peer.prepare(Workload(n_gen=2))
    assert peer.run() > 0
    with pytest.raises(RequestError, match="scripted: found ValueError: more than 4 at once"):
        peer.prepare(Workload(n_prompt=5))
    peer.prepare(Workload(n_gen=1))
    with pytest.raises(RequestError, match=r"scripted: found its process ended \(exit code 3\)"):
        peer.run()
    peer.close()


def test_a_peer_that_cannot_load_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(RequestError, match="KeyError: 'tokens_until_exit'"):
        PeerProcess(Peer("scripted", "tests.bench.scripted_peer", "json", "pip install it"), REQUEST)


def test_transformers_computes_the_same_shape() -> None:
    peer = Transformers(REQUEST)
    n_parameters = sum(parameter.numel() for parameter in peer._model.parameters())
    assert n_parameters == tiny().counted(ACCELERATOR).parameters.total
    peer.forward([1] * 7)
    peer.rewind(4)
    assert peer._cache.get_seq_length() == 4
    runner = PeerRunner(peer)
    runner.prepare(Workload(n_gen=2, n_depth=3))
    runner.run()
    assert peer._cache.get_seq_length() == 5


class FakeLlama:
    """`llama_cpp.Llama` as far as it is used."""

    def __init__(self, path: str, **options: Any) -> None:
        self.path, self.options = path, options
        self.n_tokens = 0

    def eval(self, tokens: Sequence[int]) -> None:
        self.n_tokens += len(tokens)


def test_llama_cpp_is_given_the_file_and_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(Llama=FakeLlama))
    peer = LlamaCpp(REQUEST | {"model": "/models/x.gguf"})
    llama = peer._model
    assert (peer.weights, llama.path) == ("w8", "/models/x.gguf")
    assert (llama.options["n_threads"], llama.options["n_threads_batch"], llama.options["n_ctx"]) == (1, 1, 64)
    peer.forward([1, 2, 3])
    peer.rewind(2)
    peer.forward([4])
    assert llama.n_tokens == 3


class FakeRequest:
    """An OpenVINO infer request whose state is the tokens seen."""

    def __init__(self) -> None:
        self.held = SimpleNamespace(state=SimpleNamespace(data=np.zeros(0)))
        self.inputs: dict[str, Any] = {}

    def infer(self, inputs: dict[str, Any]) -> None:
        self.inputs = inputs
        self.held.state = SimpleNamespace(data=np.append(self.held.state.data, inputs["input_ids"]))

    def reset_state(self) -> None:
        self.held.state = SimpleNamespace(data=np.zeros(0))

    def query_state(self) -> list[Any]:
        return [self.held]


def test_openvino_goes_back_to_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    request = FakeRequest()
    ports = [SimpleNamespace(names={name}) for name in ("input_ids", "attention_mask", "position_ids")]
    compiled = SimpleNamespace(inputs=ports, create_infer_request=lambda: request)
    core = SimpleNamespace(compile_model=lambda path, device, options: compiled)
    library = SimpleNamespace(Core=lambda: core, Tensor=lambda data: SimpleNamespace(data=data))
    monkeypatch.setitem(sys.modules, "openvino", library)
    peer = OpenVino(REQUEST | {"model": "/models/x"})
    runner = PeerRunner(peer)
    runner.prepare(Workload(n_gen=2, n_depth=5))
    runner.run()
    assert len(request.held.state.data) == 7
    assert request.inputs["attention_mask"].shape == (1, 7)
    assert request.inputs["position_ids"].tolist() == [[6]]
    assert "beam_idx" not in request.inputs
    with pytest.raises(ValueError, match="no state of 3 tokens"):
        peer.rewind(3)


def test_peers_that_cannot_take_part_are_told_in_a_line() -> None:
    assert unavailable("transformers", {}) is None
    missing = [name for name in PEERS if unavailable(name, {})]
    assert set(missing) == {"llama.cpp", "openvino"}
    assert unavailable("llama.cpp", {}) == (
        "llama.cpp is not installed, so it is left out; `pip install llama-cpp-python`"
    )
    with pytest.raises(RequestError, match=r"--vs: expected some of llama.cpp, transformers, openvino, found 'vllm'"):
        unavailable("vllm", {})


def test_requests_name_a_file_where_one_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: dict[str, dict[str, Any]] = {}

    def start(peer: Peer, request: dict[str, Any]) -> Any:
        if "model" in request and Path(request["model"]).exists():
            request["tensors"] = len(open_package(request["model"]).tensors)
        requests[peer.name] = request
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("nearlight.bench.peers.process.PeerProcess", start)
    setup = PeerSetup(tiny("w8"), 2, 99, 320, {"openvino": tmp_path / "exported"})
    with started(["llama.cpp", "transformers", "openvino"], setup) as peers:
        assert len(peers) == 3
    assert requests["llama.cpp"]["tensors"] == 35
    assert not Path(requests["llama.cpp"]["model"]).exists()
    assert requests["openvino"]["model"] == str(tmp_path / "exported")
    assert "model" not in requests["transformers"]
    assert {(request["threads"], request["context"]) for request in requests.values()} == {(2, 99)}
