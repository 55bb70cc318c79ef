"""Chats over a real (random) model: every turn continues the last, and nothing said is lost."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import nearlight
from nearlight.errors import RequestError
from tests.models.random_models import DELTA_NET, HYBRIDS, SIZES, write_model

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tokenizer(directory: Path, template: str | None) -> int:
    """Write one token a byte, and ChatML's; return how many there are."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>"} | ({"chat_template": template} if template else {})
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


@pytest.fixture(params=["keys and values", "states beside them"])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> nearlight.LanguageModel:
    n_tokens = write_tokenizer(tmp_path, CHATML)
    sizes = {"vocab_size": n_tokens, "eos_token_id": n_tokens - 1, "max_position_embeddings": 400}
    if request.param == "keys and values":
        config = transformers.Qwen3Config(**{**SIZES, **sizes}, head_dim=10)
    else:
        config = transformers.Qwen3_5TextConfig(**{**DELTA_NET, **sizes})
    write_model(tmp_path, config)
    return nearlight.load(tmp_path)


def test_each_turn_computes_only_what_is_new(model: nearlight.LanguageModel) -> None:
    chat = model.conversation("Be brief.")
    first = chat.say("Hello there, how are you?", max_tokens=20, temperature=0).finish()
    second = chat.say("And now?", max_tokens=5, temperature=0).finish()
    assert second.cached_tokens >= first.prompt_tokens + len(first.token_ids) - 1
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("name", ["lfm2_moe", "nemotron_h", "falcon_h1", "granitemoehybrid"])
def test_each_turn_of_a_hybrid_computes_only_what_is_new(tmp_path: Path, name: str) -> None:
    """Its recurrences are where the last answer ended, as its keys and values are; undone, they go back to a copy."""
    n_tokens, config = write_tokenizer(tmp_path, CHATML), deepcopy(HYBRIDS[name])
    config.vocab_size, config.eos_token_id, config.max_position_embeddings = n_tokens, n_tokens - 1, 400
    write_model(tmp_path, config)
    chat = nearlight.load(tmp_path).conversation("Be brief.")
    first = chat.say("Hello there, how are you?", max_tokens=20, temperature=0).finish()
    second = chat.say("And now?", max_tokens=5, temperature=0).finish()
    assert second.cached_tokens >= first.prompt_tokens + len(first.token_ids) - 1
    chat.undo()
    again = chat.say("And now?", max_tokens=5, temperature=0).finish()
    assert again.cached_tokens >= first.prompt_tokens
    assert again.token_ids == second.token_ids


def test_loading_is_counted_to_the_first_answer(model: nearlight.LanguageModel) -> None:
    chat = model.conversation()
    times = [chat.say(text, max_tokens=2, temperature=0).finish().timing.load_s for text in ("One", "Two")]
    assert times == [model.load_s, 0.0]


def test_the_cache_changes_no_answer(model: nearlight.LanguageModel) -> None:
    chat = model.conversation()
    chat.say("One", max_tokens=9, temperature=0).finish()
    continued = chat.say("Two", max_tokens=9, temperature=0)
    ids = model._sequence.tokens[: continued.completion.prompt_tokens]
    answer = continued.finish().token_ids
    model.generate([1, 2, 3], max_tokens=1)  # something else in the cache
    assert model.generate(ids, max_tokens=9, temperature=0).token_ids == answer


def test_a_stopped_answer_stays_in_the_chat(model: nearlight.LanguageModel) -> None:
    chat = model.conversation()
    stream = chat.say("Tell me everything", max_tokens=50, temperature=0)
    pieces = [next(iter(stream)).text for _ in range(3)]
    stream.close()
    assert chat.messages[-1] == {"role": "assistant", "content": stream.completion.text}
    assert stream.completion.text.startswith("".join(pieces))
    assert stream.completion.finish_reason == "cancelled"
    assert chat.say("Go on", max_tokens=2).finish().cached_tokens > 0


def test_the_system_message_can_be_changed_and_survives_clearing(model: nearlight.LanguageModel) -> None:
    chat = model.conversation("First.")
    chat.say("Hi", max_tokens=1).finish()
    chat.system = "Second."
    assert [message["content"] for message in chat.messages][:2] == ["Second.", "Hi"]
    chat.clear()
    assert chat.messages == [{"role": "system", "content": "Second."}]


def test_saved_chats_go_on(model: nearlight.LanguageModel) -> None:
    saved = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    chat = model.conversation()
    chat.restore(saved)
    answer = chat.say("More", max_tokens=6, temperature=0).finish().token_ids
    assert chat.messages[:2] == saved
    whole = model.generate([*saved, {"role": "user", "content": "More"}], max_tokens=6, temperature=0)
    assert whole.token_ids == answer


def test_what_does_not_fit_is_taken_back(model: nearlight.LanguageModel) -> None:
    chat = model.conversation()
    with pytest.raises(RequestError, match="at most 400 tokens"):
        chat.say("x" * 500)
    with pytest.raises(RequestError, match="empty"):
        chat.say("")
    assert chat.messages == []
    with pytest.raises(RequestError, match="message 1"):
        chat.restore([{"role": "user", "content": "a"}, {"content": "b"}])


def test_a_string_is_a_message_to_a_chat_model_and_text_when_raw(model: nearlight.LanguageModel) -> None:
    assert model.chats
    assert model.render("Hi").text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert model.render("Hi", raw=True).text is None
    assert model.tokenizer.decode(model.render("Hi", raw=True).ids) == "Hi"


def test_a_base_model_completes_and_refuses_messages(tmp_path: Path) -> None:
    n_tokens = write_tokenizer(tmp_path, None)
    write_model(tmp_path, transformers.LlamaConfig(**{**SIZES, "vocab_size": n_tokens}, head_dim=10))
    model = nearlight.load(tmp_path)
    assert not model.chats
    assert model.generate("Once", max_tokens=3).prompt_tokens == 4
    with pytest.raises(RequestError, match=r"no.*chat template|has none"):
        model.generate([{"role": "user", "content": "Hi"}])


def test_a_thinking_budget_closes_the_section(tmp_path: Path) -> None:
    template = CHATML.replace("assistant\n{%", "assistant\n<think>\n{%")
    n_tokens = write_tokenizer(tmp_path, template)
    sizes = {**SIZES, "vocab_size": n_tokens, "eos_token_id": n_tokens - 1, "max_position_embeddings": 400}
    write_model(tmp_path, transformers.Qwen3Config(**sizes, head_dim=10))
    model = nearlight.load(tmp_path)
    closing = model.tokenizer.encode_continuation("\n</think>\n\n")
    stopped = model.generate("Hi", max_tokens=5 + len(closing) + 4, thinking_budget=5, temperature=0)
    assert stopped.token_ids[5 : 5 + len(closing)] == closing
    assert stopped.thinking
    assert "</think>" not in stopped.thinking + stopped.text
    free = model.generate("Hi", max_tokens=5 + len(closing) + 4, temperature=0)
    assert free.token_ids[:5] == stopped.token_ids[:5]
    assert free.text == ""


def test_stop_strings_end_the_answer_before_them(model: nearlight.LanguageModel) -> None:
    options = {"max_tokens": 30, "temperature": 3.0, "seed": 1, "logit_bias": dict.fromkeys(model.stop_ids, -100.0)}
    free = model.generate("Hi", **options)
    stop = free.text[4:6]
    assert len(stop) == 2
    stopped = model.generate("Hi", **options, stop=stop)
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_a_message_stopped_before_any_answer_is_taken_back(model: nearlight.LanguageModel) -> None:
    chat = model.conversation("S")
    chat.say("Hello", max_tokens=9).close()
    assert [message["role"] for message in chat.messages] == ["system"]


def test_ids_without_a_token_are_never_chosen(tmp_path: Path) -> None:
    """Embeddings are often padded beyond the vocabulary; here to more than twice its size."""
    n_tokens = write_tokenizer(tmp_path, CHATML)
    sizes = {**SIZES, "vocab_size": 2 * n_tokens + 1, "eos_token_id": n_tokens - 1}
    write_model(tmp_path, transformers.Qwen3Config(**sizes, head_dim=10))
    model = nearlight.load(tmp_path)
    ids = model.generate("Hi", max_tokens=40, temperature=3.0, seed=1).token_ids
    assert len(ids) > 5
    assert max(ids) < n_tokens
