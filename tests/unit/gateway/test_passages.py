"""Passages in a prompt, and answers that say they do not hold the answer."""

import pytest
from hearth_gateway.passages import declines, question_with_passages, within
from made_passages import passage


def test_the_first_passage_is_cut_rather_than_left_out() -> None:
    long = [passage(n, text="x" * 300) for n in (1, 2, 3)]
    assert within(long, 1000) == long
    assert [p.id for p in within(long, 700)] == ["id1", "id2"]
    (cut,) = within(long, 150)
    assert 0 < len(cut.text) < 150


def test_a_passage_may_hold_the_places_of_a_template() -> None:
    text = question_with_passages("Q?", [passage(1, text="Write {question} here.")])
    assert text == "Passages:\n[1] Title 1 > Part 1\nWrite {question} here.\n\nQuestion: Q?"


def test_a_template_of_the_user_is_filled() -> None:
    text = question_with_passages("Q?", [passage(1)], "{question}\n--\n{passages}")
    assert text == "Q?\n--\nPassages:\n[1] Title 1 > Part 1\nFact 1."


@pytest.mark.parametrize(
    "answer",
    [
        "not in the documents",
        "  NOT in the\n documents. ",
        '"Not in the documents."',
        "Sorry, not in the documents.",
        "I'm sorry, but this is not in the documents.",
        "I’m afraid that is not in the documents!",
        "Unfortunately, the answer is not in the documents.",
        "The information is not in the documents.",
    ],
)
def test_declining_is_recognised_however_it_is_written(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "It costs 12 EUR [1]. Who pays is not in the documents.",
        "It costs 12 EUR, and who pays is not in the documents.",
        "Not in the documents of 2019, but in those of 2020 [1].",
        "Not in the documents [1].",
        "It is in the documents of 2019 [1]",
        "",
    ],
)
def test_what_says_more_is_an_answer(answer: str) -> None:
    assert not declines(answer)
