"""What in an answer is a citation, and what is given out without those of passages that do not exist."""

import pytest
from hearth_gateway.citations import Citations


@pytest.mark.parametrize(
    ("answer", "given", "real", "invented"),
    [
        ("25 days [1]", None, [1], []),
        ("a [2], b [1], c [2]", None, [2, 1], []),
        ("a [0] [4]", "a", [], [0, 4]),
        ("so it is [9]. And [1].", "so it is. And [1].", [1], [9]),
        ("list[i] and [abc] and [2024]", None, [], []),
        ("", None, [], []),
        ("27 days [1, 2]. Also [3;1].", None, [1, 2, 3], []),
        ("27 days [1,9] and [7; 8] and [7 , 2].", "27 days [1] and and [2].", [1, 2], [9, 7, 8]),
        ("[9, 9][1]", "[1]", [1], [9]),
        ("[1, 2, 3, 1, 2, 3, 1, 9]", "[1, 2, 3, 1, 2, 3, 1]", [1, 2, 3], [9]),
        ("a long row [1, 2, 3, 4, 5, 6, 7, 8, 9]", None, [], []),
    ],
)
def test_numbers_and_lists_of_them_in_brackets_cite(
    answer: str, given: str | None, real: list[int], invented: list[int]
) -> None:
    citations = Citations(3)
    assert citations.whole(answer) == (answer if given is None else given)
    assert (citations.real, citations.invented) == (real, invented)


@pytest.mark.parametrize(
    ("answer", "given", "real", "invented"),
    [
        ("Use `sys.argv[0]` and `rows[10]` [1].", None, [1], []),
        ("Use ``a`[0]`` [9].", "Use ``a`[0]``.", [], [9]),
        ("```py\nrows[10]\n`x[0]`\n```\nso [1] [9]", "```py\nrows[10]\n`x[0]`\n```\nso [1]", [1], [9]),
        ("````\n```\nrows[0]\n````\n[9]", "````\n```\nrows[0]\n````\n", [], [9]),
        ("```\nrows[1]", None, [], []),
        ("the 5` mark [1]\nand [9]", "the 5` mark [1]\nand", [1], [9]),
        ("it is ``quoted'' [1]", None, [1], []),
        ("it is ``quoted'' [9]", None, [], [9]),
    ],
    ids=["code", "a backtick in code", "a block", "a longer block", "an open block", "no code", "quotes", "invented"],
)
def test_code_is_left_as_it_is_and_cites_nothing(
    answer: str, given: str | None, real: list[int], invented: list[int]
) -> None:
    citations = Citations(3)
    assert citations.whole(answer) == (answer if given is None else given)
    assert (citations.real, citations.invented) == (real, invented)
