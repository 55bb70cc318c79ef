"""Models by name: their sizes against what their publishers say, and how names are found."""

from __future__ import annotations

import pytest

from nearlight.counting.counted_model import CountedModel
from nearlight.errors import RequestError, UnsupportedError
from nearlight.models.catalogue import catalogue, entry_named, find_in_catalogue, in_catalogue, series_of

SUPPORTED = [short for short, entry in catalogue().items() if entry.supported]


@pytest.mark.parametrize("short", SUPPORTED)
def test_parameters_are_the_published_ones(short):
    entry = find_in_catalogue(short)
    assert entry.n_parameters is not None
    assert CountedModel.of_config(entry.config).parameters.total == pytest.approx(entry.n_parameters, rel=1e-3)


@pytest.mark.parametrize("short", SUPPORTED)
def test_entries_say_what_they_were_held_against(short):
    assert find_in_catalogue(short).checked in {"config", "total", "tables", "unchecked"}


def test_what_is_unchecked_is_known():
    unchecked = {short for short in SUPPORTED if find_in_catalogue(short).checked == "unchecked"}
    assert unchecked == set()


def test_repositories_of_the_same_shape_have_as_many_parameters():
    for entry in map(find_in_catalogue, SUPPORTED):
        for repository in entry.also:
            variant = find_in_catalogue(repository)
            assert variant.repository == repository
            assert CountedModel.of_config(variant.config).parameters.total == entry.n_parameters, repository


def test_no_name_means_two_models():
    spellings: dict[str, str] = {}
    for entry in catalogue().values():
        for name in {entry.short, entry.repository, *entry.names, *entry.also}:
            found = spellings.setdefault(name.rpartition("/")[2].lower(), entry.repository)
            assert found == entry.repository, name


def test_variants_keep_what_their_own_configs_say():
    assert find_in_catalogue("mistral-7b-v0.1").config["sliding_window"] == 4096
    assert find_in_catalogue("mistral-7b").config["sliding_window"] is None
    assert find_in_catalogue("qwen2.5-7b").config["max_position_embeddings"] == 131072
    assert find_in_catalogue("qwen2.5-7b-instruct").config["max_position_embeddings"] == 32768
    assert find_in_catalogue("qwen3-4b-instruct-2507").config["max_position_embeddings"] == 262144


def test_a_download_needs_the_very_name():
    assert entry_named("qwen3-8b").repository == "Qwen/Qwen3-8B"
    assert entry_named("Qwen2.5-7B-Instruct").repository == "Qwen/Qwen2.5-7B-Instruct"
    assert entry_named("tinyllama").repository == "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    assert entry_named("gpt2-chat") is None
    assert find_in_catalogue("gpt2-chat").repository == "openai-community/gpt2"


def test_every_entry_says_whether_it_runs(planned_only: str):
    reasons = {short: entry.why_not_run for short, entry in catalogue().items()}
    assert reasons["qwen3-8b"] is None
    assert reasons["mistral-7b-v0.1"] is None
    assert reasons["gemma-2-9b"] is None
    assert reasons["phi-4"] == "nearlight cannot run models of the family phi3 yet; it can plan them"
    assert reasons["mamba-130m"] is None
    assert reasons["qwen3.5-4b"] is None
    assert reasons["deepseek-v3"] == "nearlight can neither run nor plan models of the family deepseek_v3 yet"


def test_published_totals_are_met_to_the_last_parameter():
    for entry in map(find_in_catalogue, SUPPORTED):
        if entry.checked in ("config", "total"):
            assert CountedModel.of_config(entry.config).parameters.total == entry.n_parameters, entry.name


def test_series_are_complete():
    sizes: dict[str, int] = {}
    for short in SUPPORTED:
        sizes[series_of(short)] = sizes.get(series_of(short), 0) + 1
    expected = {"qwen1.5": 8, "qwen2.5": 7, "llama-2": 3, "llama-3": 2, "llama-3.1": 3, "llama-3.2": 2, "gpt2": 4}
    expected |= {"mistral": 5, "phi-3": 2, "phi-4": 2, "gemma-2": 3, "gemma-3": 5, "smollm2": 3, "olmo-2": 4}
    expected |= {"deepseek-r1-distill-qwen": 4, "deepseek-r1-distill-llama": 2, "gpt-oss": 2, "granite-3.3": 2}
    expected |= {"qwen3.5": 6, "qwen3.6": 2}
    assert expected.items() <= sizes.items()
    assert sizes["qwen3"] >= 6


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("qwen3:0.6b", "Qwen/Qwen3-0.6B"),
        ("Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("qwen1.5-110b-chat", "Qwen/Qwen1.5-110B-Chat"),
        ("llama2-7b", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-chat-hf"),
        ("Llama_3.1_8B", "meta-llama/Llama-3.1-8B"),
        ("llama-3-8b-instruct", "meta-llama/Meta-Llama-3-8B-Instruct"),
        ("gpt2-xl", "openai-community/gpt2-xl"),
        ("mistral-7b", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("mistral-7b-instruct-v0.1", "mistralai/Mistral-7B-Instruct-v0.1"),
        ("mistral:7b", "mistralai/Mistral-7B-Instruct-v0.3"),
        ("phi4-mini", "microsoft/Phi-4-mini-instruct"),
        ("phi3", "microsoft/Phi-3-mini-4k-instruct"),
        ("gemma2:9b", "google/gemma-2-9b"),
        ("gemma-3-4b-it", "google/gemma-3-4b-it"),
        ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
        ("deepseek-r1:7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("gpt-oss:20b", "openai/gpt-oss-20b"),
        ("unsloth/Qwen3-8B-GGUF", "Qwen/Qwen3-8B"),
    ],
)
def test_names_are_found_in_many_spellings(name, repository):
    assert in_catalogue(name)
    assert find_in_catalogue(name).repository == repository


def test_misspelt_name_gets_suggestions():
    assert not in_catalogue("qwen3-06b")
    with pytest.raises(
        RequestError, match=r"no model of this name .*: expected perhaps qwen3-0\.6b.*found 'qwen3-06b'"
    ):
        find_in_catalogue("qwen3-06b")
    with pytest.raises(RequestError, match=r"expected a name like qwen3-0\.6b"):
        find_in_catalogue("zzz")


@pytest.mark.parametrize("name", ["gemma-3n-e2b", "deepseek-v3"])
def test_family_that_is_not_written_is_unsupported(name):
    with pytest.raises(
        UnsupportedError,
        match=rf"(?i){name}.*: nearlight can neither run nor plan models of the family \w+ yet; it runs exaone4",
    ):
        find_in_catalogue(name)


def test_series_leave_the_size_out():
    assert [series_of(name) for name in ("Qwen/Qwen3-8B", "Mixtral-8x7B-v0.1", "gpt2-medium", "gemma-3n-E2B")] == [
        "qwen3",
        "mixtral",
        "gpt2",
        "gemma-3n",
    ]
