"""What a person calls a model, and where that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from nearlight.errors import RequestError, UnsupportedError
from nearlight.loading import source
from nearlight.loading.source import Place, find_model, locate, repository_named
from nearlight.package import hub
from nearlight.package.hub import HubId


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's, and a directory of models to stand in."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("models/Qwen3-0.6B", "models/tiny-chat"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "llama.gguf").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def downloaded(cache: Path, repository: str) -> Path:
    snapshot = cache / f"models--{repository.replace('/', '--')}" / "snapshots" / "aa"
    snapshot.mkdir(parents=True)
    (snapshot / "m.gguf").touch()
    return snapshot / "m.gguf"


def test_in_which_order(cache: Path) -> None:
    assert locate("models/tiny-chat") == Place(Path("models/tiny-chat"))
    assert locate("pico") == Place(source.embedded_model())
    assert locate("org/name") == Place(None, HubId("org/name"))
    assert locate("qwen3-8b") == Place(None, HubId("Qwen/Qwen3-8B"), by_name=True)
    model = downloaded(cache, "Qwen/Qwen3-8B")
    for name in ("qwen3-8b", "Qwen3-8B", "qwen3:8b"):
        assert locate(name) == Place(model, HubId("Qwen/Qwen3-8B"), by_name=True)
    Path("pico").mkdir()
    assert locate("pico") == Place(Path("pico"))


def test_variants_are_not_mixed_up(planned_only: str) -> None:
    assert repository_named("llama-3.1-8b") == HubId("meta-llama/Llama-3.1-8B")
    assert repository_named("llama-3.1-8b-instruct") == HubId("meta-llama/Llama-3.1-8B-Instruct")
    assert repository_named("qwen3-8b-instruct") is None  # the same shape would do for a plan
    assert repository_named("llama-2-7b") == repository_named("Llama-2-7b-hf") == HubId("meta-llama/Llama-2-7b-hf")
    with pytest.raises(UnsupportedError, match=r"^Phi-4-mini-instruct: nearlight cannot run models of the family phi3"):
        repository_named("phi-4-mini")


def test_a_path_is_no_name_of_the_catalogue(cache: Path) -> None:
    for path in ("/models/qwen3-8b", "./qwen3-8b"):
        assert repository_named(path) is None
        with pytest.raises(RequestError, match="no such model"):
            locate(path)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("qwen3-9b", "qwen3-8b"),
        ("llama-3.1-8b-it", "llama-3.1-8b"),
        ("lama.gguf", "llama.gguf"),
        ("./models/tiny-cat", "models/tiny-chat"),
        ("tiny-lamb", "org/tiny-llama:m.gguf"),
    ],
)
def test_what_is_no_model_has_near_ones(cache: Path, name: str, near: str) -> None:
    downloaded(cache, "org/tiny-llama")
    with pytest.raises(RequestError, match=f"^{name}: no such model: expected a directory.*; near it: .*{near}"):
        locate(name)


def test_a_mistyped_path_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(RequestError, match=r"no such path: expected perhaps models/tiny-chat; if it is the hub's: "):
        locate("models/tiny-chta")
    assert locate("models/something-else").id == HubId("models/something-else")


def test_from_python_a_hub_id_is_pulled_and_a_name_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def pull(id: HubId, progress: object) -> Path:
        asked.append((id, progress))
        return Path("there")

    monkeypatch.setattr(hub, "pull", pull)
    assert find_model("org/name", print) == Path("there")
    assert asked == [(HubId("org/name"), print)]
    with pytest.raises(RequestError, match="qwen3-8b: Qwen/Qwen3-8B is not on this machine; `nearlight pull"):
        find_model("qwen3-8b", print)
    assert len(asked) == 1


@pytest.mark.parametrize("wrong", [3, None, "", b"x", ["a"]])
def test_no_name_at_all(wrong: object) -> None:
    with pytest.raises(RequestError, match=r"^source: expected a directory, a .gguf file, a hub id"):
        find_model(wrong)  # type: ignore[arg-type]
