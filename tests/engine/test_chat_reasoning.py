"""Chats of models that think, in each family's way: what is shown, and what a next turn computes.

Templates drop the thinking of earlier turns, so the last answer is read again without it. Nothing before it is, also
not by models with recurrences, which cannot be cut back anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import nearlight
from nearlight.decode.sampler import Choice, Sampler
from tests.models.random_models import SIZES, write_model

MARKS = ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "[THINK]", "[/THINK]", "<|turn>", "<turn|>", "<|channel>"]
MARKS += ["<channel|>", "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
)
HARMONY = (
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}<|end|>{% for m in messages %}"
    "<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}<|end|>"
    "{% endfor %}<|start|>assistant"
)
GEMMA = (
    "{% if enable_thinking %}<|turn>system\n<|think|><turn|>\n{% endif %}{% for m in messages %}"
    "<|turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<turn|>\n{% endfor %}<|turn>model\n"
    "{% if not enable_thinking | default(false) %}<|channel>thought\n<channel|>{% endif %}"
)
SWITCHED = "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
OPENED = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
)
PLAIN = "{answer}<|im_end|>"

# The template, whether it is asked for thinking, what the model writes, and what of the last prompt goes with the turn.
FAMILIES: dict[str, tuple[str, Any, str, str]] = {
    "qwen3": (CHATML + SWITCHED, True, "<think>\n{thought}\n</think>\n\n{answer}<|im_end|>", ""),
    "qwen3 off": (CHATML + SWITCHED, False, PLAIN, "<think>\n\n</think>\n\n"),
    "qwen3.5": (CHATML + OPENED, True, "{thought}\n</think>\n\n{answer}<|im_end|>", "<think>\n"),
    "qwen3.5 off": (CHATML + OPENED, False, PLAIN, "<think>\n\n</think>\n\n"),
    "magistral": (CHATML + "{# [THINK] #}", None, "[THINK]{thought}[/THINK]{answer}<|im_end|>", ""),
    "gemma4": (GEMMA, True, "<|channel>thought\n{thought}\n<channel|>{answer}<turn|>", ""),
    "gemma4 off": (GEMMA, False, "{answer}<turn|>", "<|channel>thought\n<channel|>"),
    "gpt-oss": (
        HARMONY,
        "low",
        "<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>{answer}<|return|>",
        "",
    ),
}


def write_tokenizer(directory: Path, template: str) -> int:
    """Write one token a byte, and one for each mark; return how many there are."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in MARKS])
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "chat_template": template, "additional_special_tokens": MARKS}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


@pytest.fixture(params=["attention", "recurrence"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def load(template: str) -> nearlight.LanguageModel:
        n_tokens = write_tokenizer(tmp_path, template)
        ids = {"vocab_size": n_tokens, "eos_token_id": n_tokens - len(MARKS) + 1}
        if request.param == "attention":
            sizes = {**SIZES, **ids, "max_position_embeddings": 2000}
            write_model(tmp_path, transformers.Qwen3Config(**sizes, head_dim=10))
        else:
            sizes = {"hidden_size": 20, "num_hidden_layers": 2, "conv_kernel": 4, "state_size": 6, "num_heads": 5}
            write_model(tmp_path, transformers.Mamba2Config(**sizes, **ids, head_dim=8, n_groups=1))
        return nearlight.load(tmp_path)

    return load


def say_as_written(monkeypatch: pytest.MonkeyPatch, ids: Iterator[int]) -> None:
    """Have the model write these ids, whatever its logits are."""
    monkeypatch.setattr(Sampler, "choose", lambda self, logits: Choice(next(ids)))


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_turn_computes_the_last_answer_and_what_is_new(
    load: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, think, form, opening = FAMILIES[family]
    model = load(template)
    chat = model.conversation(think=think)
    thought = "" if family.endswith("off") else "Hm. It is long." * 5
    prefilled, prompts = [], []
    for number in range(4):
        answer = f"Answer {number}."
        say_as_written(monkeypatch, iter(model.tokenizer.encode(form.format(thought=thought, answer=answer))))
        completion = chat.say(f"Question {number}?", temperature=0).finish()
        assert (completion.text, completion.thinking, completion.finish_reason) == (answer, thought, "stop")
        prefilled.append(completion.timing.prefill_tokens)
        prompts.append(completion.prompt_tokens)
    assert [message["content"] for message in chat.messages[1::2]] == [f"Answer {n}." for n in range(4)]
    # A turn is what the prompt grows by; read again are the marks that open an answer, where history has none, and by a
    # recurrence that comes back for it the prompt's last token.
    grown = prompts[3] - prompts[2]
    assert prompts[2] - prompts[1] == prompts[1] - prompts[0] == grown
    assert prefilled[1] == prefilled[2] == prefilled[3] <= grown + len(model.tokenizer.encode(opening)) + 1


def test_going_back_behind_a_checkpoint_gives_the_same_answer(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template, think, form, _ = FAMILIES["qwen3.5"]
    model = load(template)
    chat = model.conversation(think=think)
    with monkeypatch.context() as scripted:
        say_as_written(scripted, iter(model.tokenizer.encode(form.format(thought="Hm.", answer="Yes."))))
        chat.say("One?").finish()
    continued = chat.say("Two?", max_tokens=9, temperature=0)
    ids = model._sequence.tokens[: continued.completion.prompt_tokens]
    answer = continued.finish()
    assert answer.cached_tokens > len("<|im_start|>user\nOne?") - len("<|im_start|>")
    model.generate([1, 2, 3], max_tokens=1)  # something else in the cache
    assert model.generate(ids, max_tokens=9, temperature=0).token_ids == answer.token_ids


def test_messages_given_anew_each_time_are_read_like_a_chat(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template, think, form, _ = FAMILIES["qwen3.5"]
    model = load(template)
    messages = [{"role": "user", "content": "One?"}]
    prefilled = []
    for _ in range(3):
        say_as_written(monkeypatch, iter(model.tokenizer.encode(form.format(thought="Hm." * 9, answer="Yes."))))
        completion = model.generate(messages, think=think)
        messages += [{"role": "assistant", "content": completion.text}, {"role": "user", "content": "Two?"}]
        prefilled.append(completion.timing.prefill_tokens)
    assert prefilled[1] == prefilled[2] < completion.prompt_tokens / 2


@pytest.mark.parametrize("family", sorted(name for name in FAMILIES if not name.endswith("off")))
def test_a_budget_closes_the_section_as_the_family_does(
    load: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, think, form, _ = FAMILIES[family]
    model = load(template)
    opening, rest = form.split("{thought}")
    ending = rest.split("{answer}")[1]
    written = opening + "Hm. Hm. " + "Yes." + ending  # as if the section had been closed after the thought
    say_as_written(monkeypatch, iter(model.tokenizer.encode(written)))
    budget = len("Hm. Hm. ") + opening.endswith("\n")
    completion = model.generate("Why?", think=think, thinking_budget=budget)
    assert (completion.thinking.strip(), completion.text, completion.finish_reason) == ("Hm. Hm.", "Yes.", "stop")
    forced = len(completion.token_ids) - len(model.tokenizer.encode(written))
    closing = model.tokenizer.decode(completion.token_ids, special=True).removeprefix(opening + "Hm. Hm. ")
    assert closing.removesuffix("Yes." + ending).strip() == rest.split("{answer}")[0].strip()
    assert forced > 0
