"""What counts as a right answer in the demo."""

import pytest
from hearth_demo.questions import Answer, Question, right, score

KNOWN = Question("How many days of leave?", "12 days", "leave.md")
UNKNOWN = Question("Who won the cup?", "", None)


def said(text: str, abstained: bool = False, retrieved: tuple[str, ...] = ()) -> Answer:
    return Answer(text, abstained, (), retrieved)


@pytest.mark.parametrize(
    ("question", "answer", "counts"),
    [
        (KNOWN, said("12 days [1]"), True),
        (KNOWN, said("You get 12  Days."), True),
        (KNOWN, said("112 days"), False),
        (KNOWN, said("12 days", abstained=True), False),
        (UNKNOWN, said("not in the documents", abstained=True), True),
        (UNKNOWN, said("The cup is not in the documents, Arsenal [2] won it."), False),
        (UNKNOWN, said("Arsenal [2]"), False),
    ],
)
def test_right_answers(question: Question, answer: Answer, counts: bool) -> None:
    assert right(question, answer) is counts


def test_the_score_counts_answers_refusals_and_retrieval_hits_apart() -> None:
    answers = [said("12 days", retrieved=("a.md", "handbook/leave.md")), said("not in the documents", abstained=True)]
    result = score([KNOWN, UNKNOWN], answers)
    assert (result.answered, result.answerable, result.declined, result.unanswerable, result.hits) == (1, 1, 1, 1, 1)
