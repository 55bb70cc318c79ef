"""Turns taken back, answered anew and forgotten: the chat's messages, and what the KV cache still serves."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

import nearlight
from nearlight.engine.chat import Chat
from nearlight.errors import RequestError
from tests.engine.test_chat import CHATML, write_tokenizer
from tests.models.random_models import SIZES, write_model

SWITCHED = CHATML.replace("assistant\n{%", "assistant\n{% if enable_thinking %}Hm.{% endif %}{%")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> nearlight.LanguageModel:
    directory = tmp_path_factory.mktemp("model")
    n_tokens = write_tokenizer(directory, SWITCHED)
    sizes = {**SIZES, "vocab_size": n_tokens, "eos_token_id": n_tokens - 1, "max_position_embeddings": 400}
    write_model(directory, transformers.Qwen3Config(**sizes, head_dim=10))
    return nearlight.load(directory)


@pytest.fixture
def chat(model: nearlight.LanguageModel) -> Chat:
    """Three turns after a system message, each of another length."""
    chat = model.conversation("Be brief.")
    for text in ("One?", "And two?", "And then three?"):
        chat.say(text, max_tokens=7, temperature=0).finish()
    return chat


def contents(chat: Chat) -> list[str]:
    return [message["content"] for message in chat.messages]


def test_undo_takes_back_what_was_said_and_what_came_of_it(chat: Chat) -> None:
    before = contents(chat)
    assert chat.undo() == "And then three?"
    assert contents(chat) == before[:5]
    again = chat.say("And four?", max_tokens=2).finish()
    assert again.cached_tokens > again.prompt_tokens - 60  # both earlier turns were in the KV cache
    for _ in range(3):
        chat.undo()
    assert contents(chat) == ["Be brief."]
    with pytest.raises(RequestError, match="nothing was said yet"):
        chat.undo()


def test_undo_ends_an_answer_that_is_under_way(chat: Chat) -> None:
    before = contents(chat)
    next(iter(chat.say("More?", max_tokens=9)))
    assert chat.undo() == "More?"
    assert contents(chat) == before


def test_saying_something_ends_an_answer_that_is_under_way(chat: Chat) -> None:
    next(iter(chat.say("More?", max_tokens=9, temperature=0)))
    chat.say("And?", max_tokens=2, temperature=0).finish()
    assert [message["role"] for message in chat.messages[-4:]] == ["user", "assistant", "user", "assistant"]
    assert contents(chat)[-4::2] == ["More?", "And?"]


def test_another_answer_takes_the_place_of_the_last(chat: Chat) -> None:
    before = contents(chat)
    same = chat.regenerate(max_tokens=7, temperature=0).finish()
    assert same.cached_tokens == same.prompt_tokens - 1  # only the last token, for its logits
    assert contents(chat) == before
    other = chat.regenerate(max_tokens=7, temperature=5.0, seed=3).finish()
    assert contents(chat) == [*before[:-1], other.text]
    assert other.text != before[-1]


def test_the_answer_before_stays_if_no_other_comes(chat: Chat) -> None:
    before = contents(chat)
    chat.regenerate(max_tokens=7).close()
    assert contents(chat) == before
    with pytest.raises(RequestError, match="temperature"):
        chat.regenerate(temperature=-1)
    assert contents(chat) == before
    chat.say("And now?", max_tokens=3).close()  # the rule holds for that answer only
    assert contents(chat) == before


def test_trim_forgets_the_oldest_turns_and_says_which(chat: Chat) -> None:
    before = contents(chat)
    dropped = chat.trim()
    assert [message["content"] for message in dropped] == before[1:3]
    assert contents(chat) == ["Be brief.", *before[3:]]
    answer = chat.say("Go on", max_tokens=3, temperature=0).finish()
    assert answer.cached_tokens >= len("<|im_start|>system\nBe brief.") - len("im_start")  # the instructions stay there
    assert len(chat.trim(99)) == 6
    assert contents(chat) == ["Be brief."]
    assert chat.trim() == []


def test_prompt_tokens_foretell_the_prompt(chat: Chat) -> None:
    told = chat.prompt_tokens("Go on")
    without = chat.prompt_tokens("Go on", without=2)
    alone = chat.prompt_tokens("Go on", without=99)
    assert told > without > alone
    again = chat.prompt_tokens()
    assert chat.regenerate(max_tokens=7, temperature=0).finish().prompt_tokens == again
    assert chat.say("Go on", max_tokens=1).finish().prompt_tokens == told
    chat.undo()
    chat.trim(2)
    assert chat.say("Go on", max_tokens=1).finish().prompt_tokens == without


def test_turns_of_a_chat_that_begins_with_an_answer(model: nearlight.LanguageModel) -> None:
    chat = model.conversation()
    chat.restore([{"role": "assistant", "content": "Welcome!"}])
    with pytest.raises(RequestError, match="nothing was said yet"):
        chat.undo()
    chat.say("Hi", max_tokens=1).finish()
    assert [len(turn) for turn in chat.turns] == [1, 2]


def test_thinking_is_switched_where_the_template_heeds_it(model: nearlight.LanguageModel, chat: Chat) -> None:
    assert chat.can_think()
    told = chat.prompt_tokens()
    chat.think = True
    assert chat.prompt_tokens() == told + len("Hm.")
    chat.think = None
    assert chat.prompt_tokens() == told


def test_a_template_without_a_switch_for_thinking(tmp_path: Path) -> None:
    n_tokens = write_tokenizer(tmp_path, CHATML)
    write_model(tmp_path, transformers.Qwen3Config(**{**SIZES, "vocab_size": n_tokens}, head_dim=10))
    assert not nearlight.load(tmp_path).conversation().can_think()
