"""Documents become chunks that keep their headings and fit the embedder."""

from __future__ import annotations

import pytest
from hearth_indexer.chunk import chunks, limits
from hearth_indexer.documents import Document, Section
from hearth_indexer.outcome import BadConfigurationError
from hearth_indexer.settings import Chunking
from hearth_indexer.tokens import EstimatedTokens


class WordCounter:
    """One word, one token; reads `limit` of them."""

    exact = True

    def __init__(self, limit: int | None = 256) -> None:
        self.limit = limit

    def count(self, text: str) -> int:
        """Words."""
        return len(text.split())


TRAVEL = Document(
    "configMap://handbook/travel.md",
    "Travel",
    (
        Section(("Hotels",), "A night may cost 140 euros."),
        Section(("Trains", "Night trains"), "Book a sleeper. " * 10),
    ),
)


def test_markdown_chunks_stay_within_their_section() -> None:
    made = list(chunks(TRAVEL, Chunking(splitter="Markdown", size=20, overlap=0), WordCounter()))

    assert made[0].heading == "Travel > Hotels"
    assert made[0].text == "A night may cost 140 euros."
    assert made[0].content == "Travel > Hotels\nA night may cost 140 euros."
    assert {c.heading for c in made[1:]} == {"Travel > Trains > Night trains"}
    assert [c.position for c in made] == list(range(len(made)))


def test_recursive_chunks_fill_up_across_sections() -> None:
    made = list(chunks(TRAVEL, Chunking(splitter="Recursive", size=200, overlap=0), WordCounter()))

    assert len(made) == 1
    assert "Hotels\nA night" in made[0].text
    assert "Night trains\nBook" in made[0].text


@pytest.mark.parametrize("splitter", ["Markdown", "Recursive"])
@pytest.mark.parametrize("keep", [True, False])
def test_no_chunk_is_longer_than_its_size_with_the_headings_counted(splitter: str, keep: bool) -> None:
    asked = Chunking.model_validate({"splitter": splitter, "size": 16, "overlap": 4, "keepHeadings": keep})
    made = list(chunks(TRAVEL, asked, WordCounter()))

    assert max(len(c.content.split()) for c in made) <= 16
    assert all(("\n" in c.content) is keep or splitter == "Recursive" for c in made)


def test_a_heading_longer_than_half_a_chunk_is_cut_from_the_front() -> None:
    long = Document("u", "word " * 30 + "Title", (Section(("Sick leave",), "Call before nine."),))
    made = list(chunks(long, Chunking(splitter="Markdown", size=16, overlap=0), WordCounter()))

    assert made[0].content == "Sick leave\nCall before nine."


def test_names_are_stored_as_far_as_the_engine_holds_them_which_counts_bytes() -> None:
    long = Document(f"pvc://docs/{'é' * 900}.md", "字" * 500, (Section(("ü" * 600,), "Fünf."),))
    (made,) = chunks(long, Chunking(splitter="Markdown", size=64, overlap=0), WordCounter())

    assert made.document == f"pvc://docs/{'é' * 506}", "11 bytes, then two for each é"
    assert made.title == "字" * 341
    assert made.heading == "字" * 341
    assert made.content == f"{'字' * 500} > {'ü' * 600}\nFünf.", "what is embedded is not cut"


def test_the_same_text_at_the_same_place_keeps_its_identity() -> None:
    asked = Chunking(splitter="Markdown", size=64, overlap=0)
    first, again = (list(chunks(TRAVEL, asked, WordCounter())) for _ in range(2))
    moved = Document(TRAVEL.uri, TRAVEL.title, TRAVEL.sections[1:])
    other = list(chunks(moved, asked, WordCounter()))

    assert [c.id for c in first] == [c.id for c in again]
    assert other[0].digest == first[1].digest
    assert other[0].id != first[1].id


@pytest.mark.parametrize(
    ("asked", "limit", "expected"),
    [
        (Chunking(), None, (512, 64)),
        (Chunking(), 254, (254, 31)),
        (Chunking(), 8192, (512, 64)),
        (Chunking(size=128), 254, (128, 16)),
        (Chunking(size=128, overlap=0), 254, (128, 0)),
    ],
)
def test_sizes_follow_the_embedder(asked: Chunking, limit: int | None, expected: tuple[int, int]) -> None:
    found = limits(asked, WordCounter(limit))

    assert (found.size, found.overlap) == expected


def test_a_chunk_longer_than_the_embedder_reads_is_refused() -> None:
    with pytest.raises(BadConfigurationError, match=r"512 tokens, but the embedder reads at most 254"):
        limits(Chunking(size=512), WordCounter(254))


@pytest.mark.parametrize("splitter", ["Markdown", "Recursive"])
def test_a_minified_file_makes_no_chunk_longer_than_the_embedder_reads(splitter: str) -> None:
    blob = '{"token":"' + "ab" * 3000 + '","rules":[' + ",".join(f'{{"a":{n}}}' for n in range(200)) + "]}"
    asked = Chunking.model_validate({"splitter": splitter})
    counter = EstimatedTokens()
    made = list(chunks(Document("u", "Doc", (Section((), blob),)), asked, counter))

    assert max(counter.count(c.content) for c in made) <= 512
