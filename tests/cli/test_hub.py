"""Pulling, listing and deleting, against a hub on this machine and the hub's real cache layout."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from huggingface_hub import constants

from nearlight.errors import RequestError, UnsupportedError
from nearlight.package import hub
from nearlight.package.hub_files import HubId, choose_gguf, gguf_models, parse_id, small_files, weight_files
from nearlight.quantities import bytes_text
from tests.cli.conftest import ROOT, Command
from tests.cli.hub_server import FakeHub

SMALL_AND_WHOLE = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
}
GGUFS = {"m-Q4_K_M.gguf": b"4km", "m-Q4_K_S.gguf": b"4ks", "m-Q8_0.gguf": b"eight", "mmproj-m.gguf": b"vision"}


@pytest.fixture
def server(chat_model: Path) -> Iterator[FakeHub]:
    whole = {path.name: path.read_bytes() for path in chat_model.iterdir() if path.is_file()}
    extra = {
        "README.md": b"# hi",
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"o",
        "consolidated.safetensors": b"c",
    }
    repositories = {"org/chat": whole | extra, "org/many": GGUFS, "org/old": {"config.json": b"{}", "model.bin": b"x"}}
    with FakeHub(repositories, denied={"org/gated": (403, "GatedRepo"), "org/down": (503, "")}).running() as running:
        yield running


def test_pull_takes_what_a_model_needs_then_runs_without_the_hub(nearlight: Command, server: FakeHub) -> None:
    pulled = nearlight("pull", "org/chat", HF_ENDPOINT=server.endpoint)
    assert pulled.returncode == 0, pulled.stderr
    path = Path(pulled.stdout.strip())
    expected = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {file.name for file in path.iterdir()} == expected | {"chat_template.jinja"}
    assert server.downloads[-1] == "model.safetensors"  # what marks a package as complete comes last
    answered = nearlight("run", "org/chat", "hello", "-n", "3", "--json")
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["model"] == "org/chat"


def test_run_pulls_a_new_id_unless_offline(nearlight: Command, server: FakeHub) -> None:
    refused = nearlight("run", "org/chat", "hello", "--offline", HF_ENDPOINT=server.endpoint)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "org/chat: not on this machine" in refused.stderr
    answered = nearlight("run", "org/chat", "hello", "-n", "2", HF_ENDPOINT=server.endpoint)
    assert answered.returncode == 0, answered.stderr
    assert "downloading org/chat" in answered.stderr


@pytest.mark.parametrize(
    ("keys", "fetched"), [("y\r", True), ("\r", True), ("n\r", False), ("\x04", False), ("what?\r", False)]
)
def test_a_name_of_the_catalogue_is_asked_about(
    environment: dict[str, str], server: FakeHub, chat_model: Path, keys: str, fetched: bool
) -> None:
    server.repositories = {"Qwen/Qwen3-0.6B": server.repositories["org/chat"]}
    n_bytes = sum(len(body) for name, body in server.repositories["Qwen/Qwen3-0.6B"].items() if name in SMALL_AND_WHOLE)
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "nearlight", "run", "qwen3-0.6b", "hello there", "-n", "2"],
        env=environment | {"HF_ENDPOINT": server.endpoint, "COLUMNS": "200"},
        cwd=str(ROOT),
        encoding="utf-8",
        dimensions=(24, 200),
        timeout=None,
    )
    size = bytes_text(n_bytes)
    terminal.expect_exact(f"qwen3-0.6b is Qwen/Qwen3-0.6B on the Hugging Face hub, {size}. Download it? [Y/n] ")
    assert not server.downloads
    terminal.send(keys)
    terminal.expect(pexpect.EOF)
    terminal.close()
    if fetched:
        assert terminal.exitstatus == 0
        assert "downloading Qwen/Qwen3-0.6B" in terminal.before
        assert "2 tokens" in terminal.before
    else:
        assert terminal.exitstatus == 2
        assert (
            "Qwen/Qwen3-0.6B is not on this machine; `nearlight pull Qwen/Qwen3-0.6B` downloads it" in terminal.before
        )
        assert not server.downloads


def test_yes_asks_nothing_and_nobody_is_asked_without_a_terminal(nearlight: Command, server: FakeHub) -> None:
    server.repositories = {"Qwen/Qwen3-0.6B": server.repositories["org/chat"]}
    refused = nearlight("run", "qwen3-0.6b", "hello there", HF_ENDPOINT=server.endpoint)
    line = "qwen3-0.6b: Qwen/Qwen3-0.6B is not on this machine; `nearlight pull Qwen/Qwen3-0.6B` downloads it"
    assert (refused.returncode, refused.stdout, refused.stderr) == (2, "", f"nearlight: {line}\n")
    assert not server.downloads
    answered = nearlight("run", "qwen3-0.6b", "hello there", "-n", "2", "--yes", HF_ENDPOINT=server.endpoint)
    assert answered.returncode == 0, answered.stderr
    again = nearlight("run", "Qwen3-0.6B", "hello there", "-n", "2", "--json")
    assert json.loads(again.stdout)["model"] == "Qwen/Qwen3-0.6B"
    assert json.loads(nearlight("rm", "qwen3-0.6b", "-y", "--json").stdout)["id"] == "Qwen/Qwen3-0.6B"
    assert nearlight("pull", "qwen3-0.6b", HF_ENDPOINT=server.endpoint).returncode == 0


def test_list_and_rm(nearlight: Command, server: FakeHub, environment: dict[str, str]) -> None:
    for id in ("org/many:Q8_0", "org/many:q4_k_m"):
        assert nearlight("pull", id, HF_ENDPOINT=server.endpoint).returncode == 0
    assert server.downloads == ["m-Q8_0.gguf", "m-Q4_K_M.gguf"]
    listed = json.loads(nearlight("list", "--json").stdout)
    sizes = {model["id"]: (model["kind"], model["bytes"]) for model in listed}
    assert sizes == {"org/many:m-Q4_K_M.gguf": ("GGUF", 3), "org/many:m-Q8_0.gguf": ("GGUF", 5)}
    assert "org/many:m-Q8_0.gguf    GGUF   5 B  20" in nearlight("list").stdout
    assert "nobody is there to answer" in nearlight("rm", "org/many:Q8_0").stderr
    removed = nearlight("rm", "org/many:Q8_0", "--yes")
    assert removed.stdout == "deleted org/many:Q8_0, 5 B freed\n"
    assert [model["id"] for model in json.loads(nearlight("list", "--json").stdout)] == ["org/many:m-Q4_K_M.gguf"]
    assert json.loads(nearlight("rm", "org/many", "-y", "--json").stdout)["freed_bytes"] >= 3
    assert not list((Path(environment["HF_HOME"]) / "hub").glob("models--*"))
    assert "no models in" in nearlight("list").stderr


@pytest.mark.parametrize(
    ("id", "complaint"),
    [
        ("org/none", "org/none: no such model on the hub; check the spelling"),
        (
            "org/Qwen3-0.7B",
            "org/Qwen3-0.7B: no such model on the hub; check the spelling; a private model needs `hf auth ",
        ),
        ("org/gated", "org/gated: access is restricted; accept its terms at https://huggingface.co/org/gated"),
        ("org/down", "org/down: the hub"),
        ("org/old", "org/old: no weights that nearlight reads: expected *.safetensors or *.gguf, found pickled ones"),
        ("org/many", "org/many: 3 GGUF files fit: found m-Q4_K_M.gguf, m-Q4_K_S.gguf, m-Q8_0.gguf; name one"),
        ("org/many:Q3_K", "org/many:Q3_K: no GGUF file fits ':Q3_K': found m-Q4_K_M.gguf"),
        ("nonsense", "nonsense: not a hub id"),
    ],
)
def test_what_the_hub_refuses_is_one_line(nearlight: Command, server: FakeHub, id: str, complaint: str) -> None:
    result = nearlight("pull", id, HF_ENDPOINT=server.endpoint)
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"nearlight: {complaint}")
    assert "Traceback" not in result.stderr
    assert ("; near it: qwen3-" in line) == ("Qwen3" in id)


def test_no_network(nearlight: Command) -> None:
    result = nearlight("pull", "org/chat")
    assert result.returncode == 2
    assert "nearlight: org/chat: the hub cannot be reached; check the connection" in result.stderr


def test_a_long_download_shows_a_bar(environment: dict[str, str]) -> None:
    # huggingface_hub writes 10 MB at a time, so that much must come for a bar to move.
    with FakeHub({"org/big": {"big.gguf": bytes(25 << 20)}}).running() as server:
        server.may_go_on.clear()
        arguments = ["-m", "nearlight", "pull", "org/big"]
        terminal = pexpect.spawn(
            sys.executable,
            arguments,
            env=environment | {"HF_ENDPOINT": server.endpoint},
            cwd=str(ROOT),
            encoding="utf-8",
            timeout=None,
        )
        terminal.expect(r"org/big █+░+ +\d+%  10 MB of 26 MB")
        server.may_go_on.set()
        terminal.expect_exact("run it with: nearlight run org/big")
        terminal.close(force=True)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, repository: str, revision: str, name: str, body: bytes) -> Path:
    """Write a file as the hub's library does: a blob, and a link to it from a snapshot."""
    directory = cache / f"models--{repository.replace('/', '--')}"
    blob, link = directory / "blobs" / hashlib.sha256(body).hexdigest(), directory / "snapshots" / revision / name
    for path in (blob, link, directory / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(body)
    link.symlink_to(blob)
    (directory / "refs" / "main").write_text(revision)
    return blob


def test_an_interrupted_download_is_not_complete(cache: Path) -> None:
    put(cache, "org/half", "aa", "config.json", b"{}")
    put(cache, "org/half", "aa", "model-00001-of-00002.safetensors", b"")
    put(cache, "org/parts", "bb", "m-00001-of-00002.gguf", b"GGUF")
    assert hub.cached(HubId("org/half")) is None
    assert hub.cached(HubId("org/parts")) is None
    assert {str(model.id): model.kind for model in hub.cached_models()} == {
        "org/half": "other",
        "org/parts:m-00001-of-00002.gguf": "other",
    }


def test_a_blob_that_is_still_used_stays(cache: Path) -> None:
    shared = put(cache, "org/m", "old", "a.gguf", b"shared")
    own = put(cache, "org/m", "new", "b.gguf", b"own bytes")
    (cache / "models--org--m" / "snapshots" / "new" / "a.gguf").symlink_to(shared)
    assert hub.remove(HubId("org/m", "a.gguf")) == 0
    assert shared.exists()
    assert hub.remove(HubId("org/m", "b.gguf")) == len(b"own bytes")
    assert not own.exists()
    with pytest.raises(RequestError, match="not downloaded"):
        hub.size(HubId("org/other"))


def test_ids() -> None:
    assert parse_id("org/name") == HubId("org/name")
    assert parse_id("org/na.me-1:Q4_K_M") == HubId("org/na.me-1", "Q4_K_M")
    assert [parse_id(text) for text in ("name", "a/b/c", "a b/c", "./x/y", "./x", "../x", "x/..", "")] == [None] * 8


def test_which_weights() -> None:
    id = HubId("a/b")
    shards = ["x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"]
    assert weight_files(id, [*shards, "consolidated.safetensors", "sub/y.safetensors"], {}) == shards
    assert weight_files(id, [*shards, "model.safetensors"], {}) == ["model.safetensors"]
    assert weight_files(id, [*shards, "model.safetensors"], dict.fromkeys("pq", shards[1])) == [shards[1]]
    with pytest.raises(UnsupportedError, match="pickled"):
        weight_files(id, ["pytorch_model.bin"], {})
    assert small_files(["config.json", "README.md", "sub/config.json", "merges.txt"]) == ["config.json", "merges.txt"]


def test_which_gguf() -> None:
    names = ["Q4/m-Q4_K_M-00001-of-00002.gguf", "Q4/m-Q4_K_M-00002-of-00002.gguf", "m-IQ4_XS.gguf", "m-Q4_K.gguf"]
    models = gguf_models(names)
    assert models[names[0]] == names[:2]
    assert len(models) == 3
    assert choose_gguf(HubId("a/b", "Q4_K_M"), models) == names[0]
    assert choose_gguf(HubId("a/b", "q4_k"), models) == "m-Q4_K.gguf"
    assert choose_gguf(HubId("a/b", "m-IQ4_XS.gguf"), models) == "m-IQ4_XS.gguf"
    with pytest.raises(RequestError, match="no GGUF file fits"):
        choose_gguf(HubId("a/b", "Q4_XS"), models)
