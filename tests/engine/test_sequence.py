"""Planning steps: who goes first, and how a prompt is cut."""

from nearlight.engine.sequence import Chunk, Sequence, plan_step


def sequence(number: int, n_tokens: int, computed: int = 0, *, answering: bool = False) -> Sequence:
    return Sequence(number, list(range(n_tokens)), computed, answering=answering)


def shares(sequences: list[Sequence], max_rows: int) -> list[tuple[int, int]]:
    return [(chunk.sequence.number, chunk.n_rows) for chunk in plan_step(sequences, max_rows)]


def test_answers_go_before_prompts() -> None:
    prompt, decoding = sequence(0, 50), sequence(1, 9, computed=8, answering=True)
    assert shares([prompt, decoding], 16) == [(1, 1), (0, 15)]


def test_drafts_go_before_prompts_however_many_rows_they_are() -> None:
    prompt, drafts = sequence(0, 50), sequence(1, 18, computed=8, answering=True)
    assert shares([prompt, drafts], 16) == [(1, 10), (0, 6)]


def test_drafts_of_a_sequence_are_checked_in_one_step() -> None:
    drafted = [sequence(number, 18, computed=8, answering=True) for number in range(2)]
    for each in drafted:
        each.n_drafts = 9
    assert shares(drafted, 16) == [(0, 10)]
    assert shares(drafted[1:], 16) == [(1, 10)]


def test_a_text_that_is_scored_does_not_go_before_answers() -> None:
    scored = Sequence(0, list(range(600)), n_logits=600)
    assert shares([scored, sequence(1, 9, computed=8, answering=True)], 512) == [(1, 1), (0, 511)]


def test_prompts_are_served_in_order_and_cut() -> None:
    first, second = sequence(0, 7), sequence(1, 30)
    assert shares([first, second], 12) == [(0, 7), (1, 5)]
    assert [chunk.completes for chunk in plan_step([first, second], 12)] == [True, False]


def test_a_step_ends_where_the_sequence_will_come_back_to() -> None:
    prompt = sequence(0, 50)
    prompt.checkpoint = 20
    assert shares([prompt, sequence(1, 5)], 64) == [(0, 20), (1, 5)]
    assert shares([prompt], 16) == [(0, 16)]
    prompt.computed = 16
    assert shares([prompt], 16) == [(0, 4)]
    prompt.computed = 20
    assert shares([prompt], 64) == [(0, 30)]
    prompt.checkpoint, prompt.computed = 50, 0
    assert [chunk.completes for chunk in plan_step([prompt], 64)] == [True]


def test_nothing_pending_is_nothing_to_do() -> None:
    assert plan_step([sequence(0, 5, computed=5)], 8) == []


def test_no_room_left_means_no_empty_chunks() -> None:
    assert shares([sequence(0, 4), sequence(1, 3)], 4) == [(0, 4)]


def test_the_last_tokens_have_logits_in_whichever_step_they_are() -> None:
    asked = Sequence(0, list(range(12)), computed=2, n_logits=4)
    assert [Chunk.of(asked, n).n_logit_rows for n in (1, 6, 7, 9, 10)] == [0, 0, 1, 3, 4]
    asked.computed = 10
    assert Chunk.of(asked, 2).n_logit_rows == 2


def test_common_prefix_counts_only_what_is_computed() -> None:
    mine = Sequence(0, [5, 6, 7, 8], computed=3)
    assert mine.common_prefix([5, 6, 7, 8, 9]) == 3
    assert mine.common_prefix([5, 6, 1]) == 2
    assert mine.common_prefix([5]) == 1
    assert mine.common_prefix([]) == 0
