"""The three Hugging Face layouts against transformers, and what the Tokenizer promises."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
import vocabularies as v
from corpus import NASTY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from nearlight.errors import RequestError, TextError, UnsupportedError
from nearlight.package.package import TokenizerFiles
from nearlight.text.tokenizer import Tokenizer, build_tokenizer, well_formed
from tests.effort import calls

LAYOUTS = {"byte_level_json": "tokenizer.json", "qwen2_directory": "vocab+merges", "gpt2_directory": "vocab+merges"}
LAYOUTS |= {"llama_directory": "sentencepiece"}


def ours(directory: Path, layout: str) -> Tokenizer:
    config = json.loads((directory / "tokenizer_config.json").read_text())
    tokenizer = build_tokenizer(TokenizerFiles(layout, directory, config))
    assert tokenizer is not None
    return tokenizer


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, object]:
    directory = request.getfixturevalue(request.param)
    return ours(directory, LAYOUTS[request.param]), AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("special", [True, False])
def test_ids_equal_transformers(pair, text, special):
    tokenizer, theirs = pair
    assert tokenizer.encode(text, special=special) == theirs.encode(text, add_special_tokens=special)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
def test_ids_equal_transformers_on_any_text(pair, text):
    tokenizer, theirs = pair
    ids = tokenizer.encode(text, special=False)
    assert ids == theirs.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, special=True) == theirs.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("text", NASTY)
def test_decoding_equals_transformers(pair, text):
    tokenizer, theirs = pair
    ids = tokenizer.encode(text)
    for special in (True, False):
        expected = theirs.decode(ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        assert tokenizer.decode(ids, special=special) == expected


def test_sizes_and_special_ids_equal_transformers(pair):
    tokenizer, theirs = pair
    assert tokenizer.n_tokens == len(theirs)
    assert tokenizer.eos_id == theirs.eos_token_id
    assert tokenizer.eos_id in tokenizer.stop_ids
    assert tokenizer.special_ids == {id for id, token in theirs.added_tokens_decoder.items() if token.special}


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("prefix", [None, False])
def test_llama_settings_equal_transformers(llama_directory, tmp_path, legacy, prefix):
    shutil.copy(llama_directory / "tokenizer.model", tmp_path)
    config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_prefix_space": prefix}
    v.write(tmp_path, "tokenizer_config.json", config | {"add_eos_token": True, "add_bos_token": not legacy})
    tokenizer, theirs = ours(tmp_path, "sentencepiece"), AutoTokenizer.from_pretrained(tmp_path)
    for text in NASTY:
        assert tokenizer.encode(text) == theirs.encode(text), repr(text)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == theirs.decode(ids, skip_special_tokens=True), repr(text)


def test_gemma_equals_transformers(tmp_path):
    v.train_sentencepiece(
        tmp_path,
        "bpe",
        707,
        **v.LLAMA_TRAINING,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
        add_dummy_prefix=False,
    )
    v.write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True})
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    tokenizer = build_tokenizer(TokenizerFiles("sentencepiece", tmp_path, config))
    for text in NASTY:
        assert tokenizer.encode(text) == theirs.encode(text), repr(text)


@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc"])
def test_unigram_equals_sentencepiece(tmp_path, rule):
    v.train_sentencepiece(tmp_path, "unigram", 507, normalization_rule_name=rule)
    v.write(tmp_path, "tokenizer_config.json", {})
    tokenizer = ours(tmp_path, "sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    for text in NASTY:
        # Special tokens and NUL are read differently; `tokenizers` applies a character map per grapheme, not per char.
        per_grapheme = rule == "nmt_nfkc" and "\u0301" in text
        if "<" not in text and "\x00" not in text and not per_grapheme:
            assert tokenizer.encode(text, special=False) == theirs.encode(text), repr(text)


def test_bpe_equals_sentencepiece_itself(llama_directory):
    tokenizer = ours(llama_directory, "sentencepiece")
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(llama_directory / "tokenizer.model"))
    texts = [text for text in NASTY if text and text[0] not in " ▁" and "<" not in text and "\x00" not in text]
    assert len(texts) > 15
    for text in texts:
        assert tokenizer.encode(text, special=False) == theirs.encode(text), repr(text)


def test_token_bytes_spell_every_byte(pair):
    tokenizer, _ = pair
    text = "naïve 日本 👍🏽\n"
    whole = b"".join(tokenizer.token_bytes(id) for id in tokenizer.encode(text, special=False))
    assert whole.decode().removeprefix(" ") == text
    with pytest.raises(RequestError, match=rf"token id: expected 0 to {tokenizer.n_tokens - 1}"):
        tokenizer.token_bytes(tokenizer.n_tokens)
    with pytest.raises(RequestError, match="found -1"):
        tokenizer.decode([-1])


def test_id_of_finds_tokens_by_their_spelling(qwen2_directory):
    tokenizer = ours(qwen2_directory, "vocab+merges")
    assert tokenizer.id_of("<|im_end|>") == 703
    assert tokenizer.id_of("no such token") is None
    assert tokenizer.token_text(703) == "<|im_end|>"


def test_a_continuation_gets_no_space_of_its_own(llama_directory):
    tokenizer = ours(llama_directory, "sentencepiece")
    first, rest = tokenizer.encode("The quick"), tokenizer.encode_continuation(" brown fox<|im_end|> ok")
    assert tokenizer.decode(first + rest, special=True) == "<s> The quick brown fox<|im_end|> ok".replace(
        "<s> ", "<s> "
    )
    assert tokenizer.decode(rest, special=True, continues=True) == " brown fox<|im_end|> ok"
    assert tokenizer.encode_continuation("") == []


def test_added_tokens_keep_ids_that_leave_a_gap(gpt2_directory, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(gpt2_directory / name, tmp_path)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    declared = {"733": {"content": "<|far|>", **flags}}
    v.write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": declared})
    tokenizer = ours(tmp_path, "vocab+merges")
    assert tokenizer.encode("<|far|>") == [733]
    assert tokenizer.n_tokens == 734
    assert tokenizer.token_bytes(720) == b""


def test_old_packages_list_added_tokens_in_a_file_of_their_own(gpt2_directory, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(gpt2_directory / name, tmp_path)
    config, added = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|y|>"}, {"<|x|>": 701, "<|y|>": 702}
    v.write(tmp_path, "added_tokens.json", added)
    v.write(tmp_path, "tokenizer_config.json", config)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer = build_tokenizer(TokenizerFiles("vocab+merges", tmp_path, config | {"added_tokens": added}))
    assert tokenizer.encode("a<|x|>b<|y|>") == theirs.encode("a<|x|>b<|y|>")
    assert tokenizer.eos_id == 702


def test_stored_truncation_is_not_applied(byte_level_json, tmp_path):
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(str(byte_level_json / "tokenizer.json"))
    backend.enable_truncation(3)
    backend.enable_padding(length=11)
    backend.save(str(tmp_path / "tokenizer.json"))
    v.write(tmp_path, "tokenizer_config.json", {})
    assert len(ours(tmp_path, "tokenizer.json").encode("a b c d e f g")) > 6


def test_surrogates_are_mended():
    assert well_formed("a\ud83d\ude00b") == "a😀b"
    assert well_formed("a\ud83d b\udc80") == "a\ufffd b\ufffd"


MALFORMED = {
    "not json": ("tokenizer.json", {"tokenizer.json": "{"}, "tokenizer.json: is not a tokenizer"),
    "no model": ("tokenizer.json", {"tokenizer.json": "{}"}, "tokenizer.json: is not a tokenizer"),
    "missing": ("tokenizer.json", {}, "tokenizer.json: cannot be read (No such file or directory)"),
    "vocab list": (
        "vocab+merges",
        {"vocab.json": "[1]", "merges.txt": ""},
        "vocab.json: content: expected a non-empty",
    ),
    "vocab id": ("vocab+merges", {"vocab.json": '{"a": -7}', "merges.txt": ""}, "id of 'a': expected 0 or more"),
    "merge line": (
        "vocab+merges",
        {"vocab.json": '{"a": 0}', "merges.txt": "a b c"},
        "merges.txt: line 1: expected two",
    ),
    "merge token": ("vocab+merges", {"vocab.json": '{"a": 0}', "merges.txt": "a b"}, "do not fit together"),
    "no merges": ("vocab+merges", {"vocab.json": '{"a": 0}'}, "merges.txt: cannot be read"),
    "deep json": ("vocab+merges", {"vocab.json": "[" * 100_000, "merges.txt": ""}, "vocab.json: is not JSON"),
}


@pytest.mark.parametrize("case", sorted(MALFORMED))
def test_malformed_files_are_one_line(tmp_path, case):
    layout, contents, message = MALFORMED[case]
    for name, content in contents.items():
        v.write(tmp_path, name, content)
    with pytest.raises(TextError) as caught:
        build_tokenizer(TokenizerFiles(layout, tmp_path, {}))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_sentencepiece_is_one_line(llama_directory, tmp_path):
    whole = (llama_directory / "tokenizer.model").read_bytes()
    path = tmp_path / "tokenizer.model"
    for damaged in (b"", b"\xff" * 40, whole[:1001], b"\x0a\xff\xff\xff\xff\x0f", b"\x00", b"\x0b"):
        path.write_bytes(damaged)
        with pytest.raises(TextError, match="is not a SentencePiece model"):
            build_tokenizer(TokenizerFiles("sentencepiece", tmp_path, {}))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_sentencepiece_never_crashes(llama_directory, tmp_path_factory, data):
    whole = bytearray((llama_directory / "tokenizer.model").read_bytes()[:3001])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    directory = tmp_path_factory.getbasetemp() / "mutated"
    directory.mkdir(exist_ok=True)
    (directory / "tokenizer.model").write_bytes(whole)
    try:
        outcome = build_tokenizer(TokenizerFiles("sentencepiece", directory, {})).n_tokens
    except TextError as error:
        outcome = str(error)
    assert outcome > 0 if isinstance(outcome, int) else "\n" not in outcome


def test_unknown_layout_is_named(tmp_path):
    with pytest.raises(UnsupportedError, match=r"expected tokenizer.json, .* found tekken"):
        build_tokenizer(TokenizerFiles("tekken", tmp_path, {}))
    assert build_tokenizer(None) is None


def test_building_a_tokenizer_json_looks_at_no_single_token(tmp_path):
    from tokenizers import pre_tokenizers

    words = [f"{a}{b}{c}{d} " for a in "abcdefghij" for b in "klmno" for c in "pqrstu" for d in "vwxyzabcdefghijk"]
    backend = v.train_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
    state = json.loads(backend.to_str())
    vocab = state["model"]["vocab"]
    files = TokenizerFiles("tokenizer.json", tmp_path, {})
    costs = []
    for n_words in (1, 1, len(words)):
        more = {f"zz{word}": len(vocab) + i for i, word in enumerate(words[:n_words])}
        state["model"]["vocab"] = vocab | more
        v.write(tmp_path, "tokenizer.json", state)
        costs.append(calls(lambda: build_tokenizer(files)))
    assert len(state["model"]["vocab"]) > 5000
    assert costs[2] == costs[1]  # the first imports


def test_importing_the_text_floor_imports_no_library():
    modules = "tokenizer streaming stops thinking answer template conversation hf_settings sentencepiece gguf_tables"
    code = "import sys\n" + "".join(f"import nearlight.text.{name}\n" for name in modules.split())
    code += "assert not {'tokenizers', 'jinja2', 'torch'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
