"""Turns continue the ids in the cache, and templates that break that are named."""

from __future__ import annotations

import json

import pytest
from templates import CHATML, GEMMA, LLAMA3, MISTRAL, QWEN3

from nearlight.errors import TextError
from nearlight.package.package import TokenizerFiles
from nearlight.text.conversation import Conversation, common_prefix, continues_cache
from nearlight.text.template import ChatTemplate
from nearlight.text.tokenizer import Tokenizer, build_tokenizer

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def tokenizer_of(directory, layout) -> Tokenizer:
    config = json.loads((directory / "tokenizer_config.json").read_text())
    tokenizer = build_tokenizer(TokenizerFiles(layout, directory, config))
    assert tokenizer is not None
    return tokenizer


@pytest.fixture(scope="module")
def qwen(qwen2_directory) -> Tokenizer:
    return tokenizer_of(qwen2_directory, "vocab+merges")


def odd_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids a model might produce: characters one by one, where encoding would have merged them."""
    return [id for character in text for id in tokenizer.encode_continuation(character)]


def test_each_turn_keeps_the_ids_the_model_produced(qwen):
    chat = Conversation(ChatTemplate(CHATML), qwen)
    chat.add("user", "the quick fox")
    first = chat.prompt_ids()
    assert first == qwen.encode(chat.prompt_text, special=False)
    answer = [*odd_ids(qwen, "the lazy dog"), qwen.id_of("<|im_end|>")]
    assert answer[:-1] != qwen.encode("the lazy dog", special=False)
    chat.record(answer, "the lazy dog")
    chat.add("user", "over")
    second = chat.prompt_ids()
    assert second[: len(first) + len(answer)] == [*first, *answer]
    assert qwen.decode(second, special=True) == ChatTemplate(CHATML).render(chat.messages)

    chat.record(odd_ids(qwen, "cut short"), "cut short")
    chat.add("user", "go on")
    third = chat.prompt_ids()
    assert third[: len(second)] == second
    assert qwen.decode(third, special=True) == ChatTemplate(CHATML).render(chat.messages)


def test_answers_a_template_trims_keep_their_ids(qwen):
    template = ChatTemplate(LLAMA3, SPECIAL)
    chat = Conversation(template, qwen)
    chat.add("user", "hello")
    first = chat.prompt_ids()
    answer = odd_ids(qwen, " the dog \n")
    chat.record(answer, " the dog \n")
    chat.add("user", "more")
    second = chat.prompt_ids()
    assert second[: len(first) + len(answer)] == [*first, *answer]
    assert qwen.decode(second[len(first) + len(answer) :], special=True).startswith("<|eot_id|>")


def test_thinking_a_template_drops_leaves_the_prompt_reusable(qwen):
    chat = Conversation(ChatTemplate(QWEN3), qwen)
    chat.add("user", "hello")
    first = chat.prompt_ids()
    raw = "<think>\nHm.\n</think>\n\nyes"
    chat.record([*qwen.encode(raw, special=False), qwen.id_of("<|im_end|>")], "yes", reasoning="Hm.")
    chat.add("user", "more")
    second = chat.prompt_ids()
    assert second[: len(first)] == first
    assert "Hm." not in qwen.decode(second, special=True)
    assert qwen.decode(second, special=True) == ChatTemplate(QWEN3).render(chat.messages)
    assert common_prefix([*first, 1, 2], second) >= len(first)


def test_what_the_next_prompt_begins_with_is_known_before_the_answer(qwen):
    switched = QWEN3 + "{%- if open %}{{- '<think>\n' }}{%- endif %}"
    for source, variables, changing in (
        (QWEN3, {}, ""),
        (QWEN3, {"enable_thinking": False}, "<think>\n\n</think>\n\n"),
        (switched, {"open": True}, "<think>\n"),
        ("{{ messages | length }} messages", {}, "1 messages"),
        ("{% if messages | length > 1 %}{{ raise_exception('no') }}{% endif %}x", {}, "x"),
    ):
        chat = Conversation(ChatTemplate(source), qwen, variables=variables)
        chat.add("user", "hello")
        prompt = chat.prompt_ids()
        lasting = chat.lasting()
        assert qwen.decode(prompt[lasting:], special=True, continues=True) == changing
    with pytest.raises(TextError, match="there is no prompt yet"):
        Conversation(ChatTemplate(QWEN3), qwen).lasting()


def test_an_edited_past_is_read_again(qwen):
    chat = Conversation(ChatTemplate(CHATML), qwen, messages=[{"role": "user", "content": "one"}])
    first = chat.prompt_ids()
    chat.record(odd_ids(qwen, "two"), "two")
    chat.messages[0]["content"] = "other"
    chat.add("user", "three")
    ids = chat.prompt_ids()
    assert ids == qwen.encode(chat.prompt_text, special=False)
    assert common_prefix(ids, first) < len(first)
    chat.clear()
    assert chat.messages == []
    with pytest.raises(TextError, match="recorded before a prompt"):
        chat.record([1], "x")


def test_sentencepiece_turns_read_back_as_rendered(llama_directory):
    tokenizer = tokenizer_of(llama_directory, "sentencepiece")
    template = ChatTemplate(MISTRAL, SPECIAL)
    chat = Conversation(template, tokenizer)
    chat.add("user", "the quick fox")
    first = chat.prompt_ids()
    answer = [*tokenizer.encode_continuation(" the lazy dog"), tokenizer.eos_id]
    chat.record(answer, "the lazy dog")
    chat.add("user", "over")
    second = chat.prompt_ids()
    assert second[: len(first) + len(answer)] == [*first, *answer]
    assert tokenizer.decode(second, special=True) == template.render(chat.messages)


@pytest.mark.parametrize(
    ("source", "verdict", "reason"),
    [
        (CHATML, True, "each turn continues"),
        (LLAMA3, True, "each turn continues"),
        (MISTRAL, True, "each turn continues"),
        (CHATML.replace("assistant\\n' }}{% endif", "assistant:\\n' }}{% endif"), False, "opens an answer differently"),
        (GEMMA, True, "each turn continues"),
        (QWEN3, False, "drops the thinking"),
        ("{{ messages[-1].content }}", False, "renders earlier turns differently"),
        (CHATML.replace("message['content']", "message['content']|upper"), False, "changes the text of answers"),
        ("{% for m in messages %}{{ loop.revindex }}{{ m.content }}{% endfor %}", False, "earlier turns differently"),
    ],
)
def test_templates_that_break_the_cache_are_named(source, verdict, reason):
    continues, why = continues_cache(ChatTemplate(source, SPECIAL))
    assert continues is verdict
    assert reason in why


def test_common_prefix_counts_shared_ids():
    assert common_prefix([1, 2, 3], [1, 2, 5, 7]) == 2
    assert common_prefix([1, 2], [1, 2, 5]) == 2
    assert common_prefix([], [1]) == 0
