"""A full context is said with figures and is no dead end: undo, regenerate, trim."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearlight.limits.cache import Cache
from nearlight.limits.run import RunLimit
from tests.cli.chats import PROMPT, UP, Chat, TypedChat, said, saved_by, scripted_chat
from tests.cli.scripted import BYTES_PER_S, Costs

Capture = pytest.CaptureFixture[str]
LONG = " ".join(["word"] * 40)


def flat(text: str) -> str:
    """Undo the wrapping."""
    return " ".join(text.split())


def seeds(chat: TypedChat) -> list[int | None]:
    return [options.get("seed") for _, options in chat.model.asked]


def test_an_answer_says_which_limit_ended_it(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["a b c d", LONG], context=12, max_tokens=3)
    assert flat(chat.type("Hello")).endswith("stopped by --max-tokens")
    chat.type("/clear")
    chat.type("/set max_tokens 100")
    shown = flat(chat.type("Hello"))
    # A prompt of 4 tokens; the answer's last needs no place.
    assert "9 tokens · TTFT" in shown
    assert "stopped by the full context of 12 tokens /trim drops the oldest turns, /undo" in shown


def test_a_chat_that_fills_the_context_says_what_can_be_done(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["one two three four five", "yes"], context=14)
    chat.type("Hello")
    shown = flat(chat.type("How are you today?"))
    assert shown.startswith("the chat with this message takes 18 tokens, and the context holds 14; /trim drops")
    assert chat.contents == ["Hello", "one two three four five"]
    assert flat(chat.type("/trim")) == 'dropped the oldest turn: "Hello"; 0 left'
    assert "yes" in chat.type("How are you today?")


def test_a_message_longer_than_the_context_is_not_lost(chat: Chat) -> None:
    terminal = chat([said("ok")], context=30)
    terminal.send("first\r")
    terminal.expect_exact("ok")
    terminal.expect_exact(PROMPT)
    terminal.send(f"begin {LONG} end\r")
    terminal.expect(r"this message alone takes 45 tokens, and the context holds 30; Up\s+brings it back")
    terminal.expect_exact(PROMPT)
    terminal.send(UP)
    terminal.expect_exact("begin word")
    terminal.expect_exact("word end")


def test_undo_gives_back_what_was_typed(chat: Chat, tmp_path: Path) -> None:
    terminal = chat([said("ok"), said("better")])
    terminal.send("Helo\r")
    terminal.expect_exact("ok")
    terminal.expect_exact(PROMPT)
    terminal.send("/undo\r")
    terminal.expect_exact('took back "Helo"')
    terminal.expect_exact("> \x1b[0mHelo")
    terminal.send("\x7flo!\r")  # a backspace
    terminal.expect_exact("better")
    terminal.expect_exact(PROMPT)
    messages = saved_by(terminal, tmp_path / "c.json")["messages"]
    assert [message["content"].strip() for message in messages] == ["Hello!", "better"]


def test_undo_goes_back_turn_by_turn(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["one", "two"], system="Be brief.")
    for text in ("first", "second"):
        chat.type(text)
    assert chat.type("/undo") == 'took back "second"\n'
    assert chat.contents == ["Be brief.", "first", "one"]
    assert chat.state.typed == "second"
    chat.type("/undo")
    assert chat.type("/undo") == "nothing was said yet"
    assert chat.contents == ["Be brief."]


@pytest.mark.parametrize("name", ["/regenerate", "/retry"])
def test_another_answer_takes_the_place_of_the_last(capsys: Capture, name: str) -> None:
    chat = scripted_chat(capsys, ["one", "two"], temperature=0.7)
    chat.type("Hello")
    assert "two" in chat.type(name)
    assert chat.contents == ["Hello", "two"]
    prompts = [prompt for prompt, _ in chat.model.asked]
    assert prompts[0] == prompts[1]


def test_further_answers_take_further_seeds(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["a", "b", "c", "d"], temperature=0.7, seed=40)
    chat.type("Hello")
    chat.type("/regenerate")
    chat.type("/regenerate")
    chat.type("More")
    assert seeds(chat) == [40, 41, 42, 40]


def test_without_drawing_the_same_answer_is_not_made_again(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["a", "b", "c"], temperature=0)
    chat.type("Hello")
    refusal = "the same answer would come, as nothing is drawn at temperature 0; /set temperature 0.7 makes"
    assert chat.type("/regenerate").startswith(refusal)
    assert chat.contents == ["Hello", "a"]
    chat.type("/system Be brief.")
    assert "b" in chat.type("/regenerate")  # it may well differ now
    assert chat.type("/regenerate").startswith(refusal)
    chat.type("/set max_tokens 9")
    assert "c" in chat.type("/regenerate")


def test_regenerate_needs_something_said(capsys: Capture) -> None:
    assert scripted_chat(capsys, []).type("/regenerate") == "nothing was said yet"


def test_trim_says_what_it_drops(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["1", "2", "3", "4", "5", "6"], system="Be brief.")
    for text in ("a", "b\nand more", "c" * 50, "d", "e", "f"):
        chat.type(text)
    told = flat(chat.type("/trim 5"))
    assert told == f'dropped the oldest 5 turns: "a", "b and more", "{"c" * 29}…" and 2 more; 1 left'
    assert chat.contents == ["Be brief.", "f", "6"]
    assert chat.type("/trim 0") == "how many turns: expected a whole number of at least 1, found '0'"
    assert chat.type("/trim x").startswith("how many turns")
    chat.type("/trim 7")
    assert chat.type("/trim") == "there is nothing to drop"
    assert chat.contents == ["Be brief."]


def test_trimming_by_itself_leaves_room_for_many_turns_and_tells(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["one two three four"] * 14, context=120, trim=True, system="Be kind.")
    told = [flat(chat.type(f"message {i}")) for i in range(14)]
    drops = {i: line for i, line in enumerate(told) if not line.startswith("one two")}
    assert list(drops) == [8, 11]  # not at every turn: what is behind a dropped turn is computed anew
    assert drops[8].startswith('dropped the oldest 3 turns, 38 tokens: "message 0", "message 1", "message 2" one two')
    assert drops[11].startswith("dropped the oldest 3 turns, ")
    assert chat.contents[:2] == ["Be kind.", "message 6"]
    assert chat.contents[-2] == "message 13"
    assert all("Be kind." in prompt for prompt, _ in chat.model.asked)


def test_trimming_drops_nothing_for_a_message_that_cannot_fit(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["yes"], context=30, trim=True)
    chat.type("Hello")
    assert flat(chat.type(LONG)).startswith("this message alone takes 43 tokens")
    assert chat.contents == ["Hello", "yes"]


def test_trimming_makes_room_for_another_answer(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["one two three", LONG, "short"], context=24, trim=True, temperature=1.0)
    chat.type("Hello")
    shown = flat(chat.type("Tell me all"))
    assert "stopped by the full context of 24 tokens the oldest turns are dropped for your next message" in shown
    assert flat(chat.type("/regenerate")).startswith('dropped the oldest turn, 9 tokens: "Hello" short')
    assert chat.contents == ["Tell me all", "short"]


def test_nothing_is_dropped_unasked(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["one two three", LONG], context=24)
    chat.type("Hello")
    chat.type("Tell me all")
    assert chat.contents[0] == "Hello"
    assert "the chat with this message takes" in flat(chat.type("More"))
    assert chat.contents[0] == "Hello"


def test_a_growing_text_has_turns_too(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["b c", "e", "f"], chats=False, temperature=1.0)
    chat.type("a ")
    chat.type("d ")
    assert chat.state.dialogue.saved() == {"text": "a b c \nd e "}
    chat.type("/regenerate")
    assert chat.state.dialogue.saved() == {"text": "a b c \nd f "}
    assert chat.model.asked[-1][0] == "a b c \nd "
    assert flat(chat.type("/trim")) == 'dropped the oldest turn: "a"; 1 left'
    assert chat.state.dialogue.saved() == {"text": "d f "}
    chat.type("/undo")
    assert chat.state.typed == "d "
    assert chat.type("/undo") == chat.type("/regenerate") == "nothing was typed yet"


def test_another_completion_that_never_comes_leaves_the_one_before(capsys: Capture) -> None:
    chat = scripted_chat(capsys, ["b"], chats=False, temperature=1.0)
    chat.type("a ")
    chat.state.settings.set("temperature", "0.5")
    dialogue = chat.state.dialogue
    stream = dialogue.again(lambda done, total: None)
    stream.close()
    dialogue.ended(stream)
    assert dialogue.saved() == {"text": "a b "}


def test_stats_say_whose_limit_it_is(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = scripted_chat(capsys, [])
    assert chat.type("/stats").endswith("limit    200 tok/s here (10 GB/s from memory)\n")
    cached = RunLimit(Costs(), BYTES_PER_S, cache=Cache(100e6, 50e9))
    monkeypatch.setattr(chat.model, "limits", lambda **asked: cached)
    assert chat.type("/stats").endswith("limit    1000 tok/s here (50 GB/s from this processor's cache)\n")
