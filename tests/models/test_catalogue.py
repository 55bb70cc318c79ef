"""Models by name: their sizes against what their publishers say, and how names are found."""

from __future__ import annotations

import pytest

from nearlight.engine.counting import CountedModel
from nearlight.errors import RequestError, UnsupportedError
from nearlight.models.catalogue import catalogue, find_in_catalogue, in_catalogue, series_of

SUPPORTED = [short for short, entry in catalogue().items() if entry.supported]


@pytest.mark.parametrize("short", SUPPORTED)
def test_parameters_are_the_published_ones(short):
    entry = find_in_catalogue(short)
    assert entry.n_parameters is not None
    assert CountedModel.of_config(entry.config).parameters.total == pytest.approx(entry.n_parameters, rel=1e-3)


@pytest.mark.parametrize("short", SUPPORTED)
def test_entries_say_what_they_were_held_against(short):
    assert find_in_catalogue(short).checked in {"config", "total", "tables"}


def test_published_totals_are_met_to_the_last_parameter():
    for entry in map(find_in_catalogue, SUPPORTED):
        if entry.checked in ("config", "total"):
            assert CountedModel.of_config(entry.config).parameters.total == entry.n_parameters, entry.name


def test_series_are_complete():
    sizes: dict[str, int] = {}
    for short in SUPPORTED:
        sizes[series_of(short)] = sizes.get(series_of(short), 0) + 1
    expected = {"qwen1.5": 8, "qwen2.5": 7, "llama-2": 3, "llama-3": 2, "llama-3.1": 3, "llama-3.2": 2, "gpt2": 4}
    assert expected.items() <= sizes.items()
    assert sizes["qwen3"] >= 6


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("qwen3-0.6b", "Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("qwen3:0.6b", "Qwen/Qwen3-0.6B"),
        ("Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B"),
        ("qwen1.5-110b-chat", "Qwen/Qwen1.5-110B"),
        ("llama2-7b", "meta-llama/Llama-2-7b-hf"),
        ("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf"),
        ("Llama_3.1_8B", "meta-llama/Llama-3.1-8B"),
        ("llama-3-8b-instruct", "meta-llama/Meta-Llama-3-8B"),
        ("gpt2-xl", "openai-community/gpt2-xl"),
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


@pytest.mark.parametrize("name", ["gemma-3-4b-it", "gemma-3n-e2b", "mamba-130m", "deepseek-v3"])
def test_family_that_is_not_written_is_unsupported(name):
    with pytest.raises(UnsupportedError, match=r"unsupported: .* is of the family .* not written yet"):
        find_in_catalogue(name)


def test_series_leave_the_size_out():
    assert [series_of(name) for name in ("Qwen/Qwen3-8B", "Mixtral-8x7B-v0.1", "gpt2-medium", "gemma-3n-E2B")] == [
        "qwen3",
        "mixtral",
        "gpt2",
        "gemma-3n",
    ]
