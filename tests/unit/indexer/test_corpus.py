"""Documents become chunks a few at a time: memory does not grow with the corpus."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest
from hearth_indexer import corpus
from hearth_indexer.corpus import Reading, cut
from hearth_indexer.documents import Document, Section, Skipped
from hearth_indexer.outcome import BadDataError
from hearth_indexer.settings import Chunking
from hearth_indexer.tokens import EndpointTokens, EstimatedTokens


def documents(count: int, size: int) -> Iterator[Document]:
    """Documents of so many characters, each with words of its own."""
    for number in range(count):
        text = (f"Rule {number} says no. " * (size // 18))[:size]
        yield Document(f"pvc://library/{number}.md", f"Rules {number}", (Section(("Part",), text, 2),))


def reading(*found: Document | Skipped) -> Reading:
    made = Reading()
    made.take(found)
    return made


class CharacterCounter:
    """Four characters, one token."""

    exact, limit = True, None

    def count(self, text: str) -> int:
        """Tokens."""
        return len(text) // 4


def test_a_corpus_takes_no_more_memory_than_the_documents_that_are_being_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "HELD_CHARACTERS", 100_000)
    tracemalloc.start()
    try:
        made = Reading()
        made.take(documents(100, 40_000))
        cut_up = cut(made, Chunking(), CharacterCounter())
        read = sum(len(c.text) for c in cut_up.chunks)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read > 4_000_000
    assert peak < 2_000_000


def test_lengths_are_remembered_without_the_texts() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"count": len(request.content) // 4, "max_model_len": 512})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        counter = EndpointTokens(client, "http://embedder/v1", "minilm", {})
        tracemalloc.start()
        try:
            for number in range(20):
                counter.count(f"{number} " * 50_000)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 200_000, "twenty texts of a hundred thousand characters and more"


def test_chunks_come_in_reading_order_each_once_and_again() -> None:
    one, two = documents(2, 4000)
    made = cut(reading(one, two, one), Chunking(size=64, overlap=0), EstimatedTokens())

    assert made.documents == 3
    told = [(c.document, c.position) for c in made.chunks]
    assert told == sorted(set(told))
    assert [c.id for c in made.chunks] == made.chunks.ids
    assert {c.page for c in made.chunks} == {2}


def test_what_cannot_be_read_is_counted_and_the_first_are_told() -> None:
    made = reading(*documents(1, 100), *(Skipped(f"pvc://{n}", "is binary") for n in range(30)))
    assert (made.skipped_count, len(made.skipped)) == (30, 10)


def test_sources_without_a_document_are_refused_with_the_first_that_was_skipped() -> None:
    with pytest.raises(BadDataError, match=r"2 skipped; the first: pvc://a is binary"):
        cut(
            reading(Skipped("pvc://a", "is binary"), Skipped("pvc://b", "holds no text")), Chunking(), EstimatedTokens()
        )
