"""Passages before a model: how they are numbered, how many fit, and when the model declines.

The format is the one that the fine-tuning rows of examples/raft teach (the recipe of RAFT, Zhang et al. 2024).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

SYSTEM = (
    "Answer from the passages only. Cite the passage as [n]. If they do not hold the answer, say: not in the documents."
)
TEMPLATE = "{passages}\n\nQuestion: {question}"
DECLINE = "not in the documents"
BETWEEN = "\n\n"
_PLACES = re.compile(r"\{passages\}|\{question\}")
_NO_WORDS = re.compile(r"[\W\d]*")
_ASIDE = r"(?:(?:i'm|i am) )?(?:sorry|afraid)|unfortunately"
_SUBJECT = r"(?:the|this|that) (?:answer|information)|this|that|it"
_DECLINED = re.compile(rf"\W*(?:(?:{_ASIDE})\W+(?:but )?)?(?:(?:{_SUBJECT})(?: is|'s) )?{DECLINE}\W*")


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of an index. `similarity` is the cosine to the question, None where only its words were found."""

    id: str
    document: str
    title: str
    heading: str
    text: str
    score: float
    similarity: float | None = None


def within(passages: Sequence[Passage], characters: int) -> list[Passage]:
    """The first passages that fit; the first is cut rather than left out."""
    room = characters
    kept: list[Passage] = []
    for passage in passages:
        size = len(_numbered(passage, len(kept) + 1)) + len(BETWEEN)
        if size > room:
            if not kept:
                kept.append(replace(passage, text=passage.text[: max(0, room - (size - len(passage.text)))]))
            break
        kept.append(passage)
        room -= size
    return kept


def numbered(passages: Sequence[Passage]) -> str:
    """The passages as the model reads them."""
    return BETWEEN.join(_numbered(p, n) for n, p in enumerate(passages, start=1))


def question_with_passages(question: str, passages: Sequence[Passage], template: str | None = None) -> str:
    """The user message."""
    filled = {"{passages}": f"Passages:\n{numbered(passages)}", "{question}": question}
    return _PLACES.sub(lambda place: filled[place[0]], template or TEMPLATE)


def _numbered(passage: Passage, number: int) -> str:
    return f"{_head(passage, number)}\n{passage.text}"


def _head(passage: Passage, number: int) -> str:
    """The number and the chain of headings. The indexer's chains begin with the title; others are put behind it."""
    if passage.heading.startswith(passage.title):
        return f"[{number}] {passage.heading or passage.title}"
    return f"[{number}] {passage.title} > {passage.heading}" if passage.heading else f"[{number}] {passage.title}"


def declines(answer: str) -> bool:
    """Whether all that the model says is that the passages do not hold the answer.

    An answer to one part of a question that declines another is an answer, and so is whatever cites a passage.
    """
    return _DECLINED.fullmatch(" ".join(answer.lower().replace("’", "'").split())) is not None


def begins_to_decline(answer: str) -> bool:
    """Whether an answer that begins like this may be the decline that a model is told to say, word for word."""
    said = " ".join(answer.lower().split())
    return DECLINE.startswith(said) or (
        said.startswith(DECLINE) and _NO_WORDS.fullmatch(said, len(DECLINE)) is not None
    )
