"""What of an answer reaches the client while it is being written."""

import pytest
from hearth_gateway.citations import Citations
from hearth_gateway.streamed_answer import StreamedAnswer
from hypothesis import given
from hypothesis import strategies as st

PIECES = st.lists(
    st.sampled_from(
        ["It is", " 12", " ", "[", "1", "2", "9", "]", " [", "[7]", " EUR", "\n", ".", ",", "; ", "`", "```", " [1, 9"]
    )
)


def without_invented(answer: str, passages: int) -> str:
    return Citations(passages).whole(answer)


def parts(answer: StreamedAnswer, *texts: str) -> list[str]:
    return [*(answer.add(text) for text in texts), answer.end()]


@given(PIECES)
def test_whichever_way_it_is_cut_a_stream_says_what_a_whole_answer_says(pieces: list[str]) -> None:
    assert "".join(parts(StreamedAnswer(2, None), *pieces)) == without_invented("".join(pieces), 2)


@given(PIECES)
def test_little_is_held_back_without_a_message_for_abstentions(pieces: list[str]) -> None:
    answer, written, given_out = StreamedAnswer(999, None), "", ""
    for piece in pieces:
        written += piece
        given_out += answer.add(piece)
        assert len(without_invented(written, 999).rstrip("`")) - len(given_out) <= len(" [" + "999 , " * 8)


def test_an_invented_citation_never_reaches_the_client() -> None:
    assert parts(StreamedAnswer(2, None), "12 days", " [", "7", "]", ".") == ["12 days", "", "", "", ".", ""]
    assert parts(StreamedAnswer(2, None), "12 days [", "2", "].") == ["12 days", "", " [2].", ""]


def test_an_answer_is_not_held_for_a_decline_that_it_does_not_begin_with() -> None:
    assert parts(StreamedAnswer(2, "Not there."), "The", " answer", " is 12") == ["The", " answer", " is 12", ""]
    assert parts(StreamedAnswer(2, "Not there."), "Not", " before May") == ["", "Not before May", ""]


@pytest.mark.parametrize("texts", [("Not in", " the documents", "."), ("not in the documents", " [7]", "\n")])
def test_the_message_is_said_in_place_of_a_decline(texts: tuple[str, ...]) -> None:
    assert parts(StreamedAnswer(2, "Not there."), *texts) == [*("" for _ in texts), "Not there."]


@pytest.mark.parametrize(
    "text",
    ["Not in", "Not in the documents [1].", "Not in the documents of 2019, but [1]", "Sorry, not in the documents."],
)
def test_what_is_no_bare_decline_is_said_as_it_was_written(text: str) -> None:
    assert "".join(parts(StreamedAnswer(2, "Not there."), *text)) == text


def test_without_a_message_a_decline_is_said_as_it_was_written() -> None:
    assert "".join(parts(StreamedAnswer(2, None), "Not in the documents.")) == "Not in the documents."
