"""Everything that was read, cut to chunks, on disk: memory holds some documents at a time, whatever their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from hearth_indexer.chunk import Chunk, ChunkLimits, chunks, limits
from hearth_indexer.documents import Document, Section, Skipped
from hearth_indexer.outcome import BadDataError
from hearth_indexer.settings import Chunking
from hearth_indexer.spool import Spool
from hearth_indexer.tokens import TokenCounter

COUNTING_THREADS = 8
"""Documents whose tokens are counted at a time: counting waits for the embedder, not for this process."""

HELD_CHARACTERS = 2**24
"""Characters of the documents that are being cut, unless one alone has more. Chunks hold each a few times over."""

SKIPPED_TOLD = 10


class Chunks:
    """The chunks of an index, each once, in reading order. Ids are in memory, texts are not."""

    def __init__(self) -> None:
        self._spool: Spool[Chunk] = Spool(asdict, lambda told: Chunk(**told))
        self._ids: dict[str, None] = {}

    def add(self, chunk: Chunk) -> None:
        """Takes it in, unless it is there."""
        if chunk.id not in self._ids:
            self._ids[chunk.id] = None
            self._spool.add(chunk)

    @property
    def ids(self) -> list[str]:
        """The ids of all of them."""
        return list(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Chunk]:
        return iter(self._spool)


@dataclass
class Reading:
    """The documents of all sources, as far as they could be read."""

    documents: Spool[Document] = field(default_factory=lambda: Spool(_told, _document))
    skipped: list[Skipped] = field(default_factory=list)
    """The first that could not."""
    skipped_count: int = 0

    def take(self, found: Iterable[Document | Skipped]) -> None:
        """Takes in all of them."""
        for one in found:
            if isinstance(one, Document):
                self.documents.add(one)
                continue
            self.skipped_count += 1
            if len(self.skipped) < SKIPPED_TOLD:
                self.skipped.append(one)


@dataclass(frozen=True, slots=True)
class Corpus:
    """The documents, cut to chunks."""

    documents: int
    chunks: Chunks
    limits: ChunkLimits
    exact_tokens: bool


def cut(reading: Reading, asked: Chunking, counter: TokenCounter) -> Corpus:
    """The chunks of the documents, which are let go of.

    Raises BadDataError where there is none, BadConfigurationError where the embedder cannot read what is asked for.
    """
    found = Chunks()
    pool = ThreadPoolExecutor(COUNTING_THREADS)
    try:
        for made in _cut_in(pool, reading.documents, asked, counter):
            for chunk in made:
                found.add(chunk)
    finally:
        # Not waited for: they may be asking an embedder that does not answer, for ten minutes.
        pool.shutdown(wait=False, cancel_futures=True)
    if not found:
        first = f"; the first: {reading.skipped[0].uri} {reading.skipped[0].reason}" if reading.skipped else ""
        raise BadDataError(
            f"the sources hold no document that can be indexed ({reading.skipped_count} skipped{first})",
            "check uri, include and exclude of spec.sources",
        )
    documents = len(reading.documents)
    reading.documents.close()
    return Corpus(documents, found, limits(asked, counter), counter.exact)


def _cut_in(
    pool: ThreadPoolExecutor, documents: Iterable[Document], asked: Chunking, counter: TokenCounter
) -> Iterator[tuple[Chunk, ...]]:
    """The chunks of each document, in order; the next documents are read while the first are being counted."""
    held: deque[tuple[int, Future[tuple[Chunk, ...]]]] = deque()
    for document in documents:
        size = sum(len(s.text) for s in document.sections)
        while held and (len(held) >= 2 * COUNTING_THREADS or size + sum(s for s, _ in held) > HELD_CHARACTERS):
            yield held.popleft()[1].result()
        held.append((size, pool.submit(lambda d: tuple(chunks(d, asked, counter)), document)))
    while held:
        yield held.popleft()[1].result()


def _told(document: Document) -> list[object]:
    return [document.uri, document.title, [[s.headings, s.text, s.page] for s in document.sections]]


def _document(told: list[object]) -> Document:
    uri, title, sections = told
    assert isinstance(sections, list)
    return Document(str(uri), str(title), tuple(Section(tuple(h), text, page) for h, text, page in sections))
