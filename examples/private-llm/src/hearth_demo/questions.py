"""Asks the endpoint the handbook's questions and counts what it gets right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_demo.endpoint import chat

AT_ONCE = 16
"""Questions under way at a time, as many as an engine on CPU takes (its maxConcurrency where none is set): it writes
their answers in one batch, in little more time than one takes alone."""


@dataclass(frozen=True)
class Question:
    """One question, the answer that counts, and the document that holds it (None: no document does)."""

    text: str
    answer: str
    document: str | None


@dataclass(frozen=True)
class Answer:
    """What the endpoint said to one question."""

    text: str
    abstained: bool
    """Whether it said that the documents do not hold the answer."""
    citations: tuple[dict[str, Any], ...]
    retrieved: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """How a model did on all questions, through the whole retrieval path."""

    answered: int
    answerable: int
    declined: int
    unanswerable: int
    hits: int
    """Answerable questions whose document was among the retrieved passages."""


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSON Lines file with `question`, `answer` and `document`."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [Question(row["question"], row["answer"] or "", row["document"]) for row in rows]


def ask(base_url: str, model: str, question: str) -> Answer:
    """One chat completion with retrieval.

    Raises StepError where the endpoint refuses.
    """
    payload = chat(base_url, {"model": model, "messages": [{"role": "user", "content": question}]})
    about = payload.get("hearth", {})
    return Answer(
        text=payload["choices"][0]["message"]["content"],
        abstained=bool(about.get("abstained")),
        citations=tuple(about.get("citations", [])),
        retrieved=tuple(p["document"] for p in about.get("retrieval", {}).get("passages", [])),
    )


def words(text: str) -> str:
    """Lower case, citations and punctuation removed, single spaces: `12 days.` and `12  Days [1]` are one answer."""
    without_citations = re.sub(r"\[\d+\]", " ", text)
    return " ".join(re.findall(r"[a-z0-9]+", without_citations.lower()))


def right(question: Question, answer: Answer) -> bool:
    """An answerable question is right when the expected words appear; an unanswerable one when it is declined."""
    if question.document is None:
        return answer.abstained
    return not answer.abstained and f" {words(question.answer)} " in f" {words(answer.text)} "


def score(questions: Sequence[Question], answers: Sequence[Answer]) -> Score:
    """Counts over all questions."""
    pairs = list(zip(questions, answers, strict=True))
    answerable = [(q, a) for q, a in pairs if q.document is not None]
    unanswerable = [(q, a) for q, a in pairs if q.document is None]
    return Score(
        answered=sum(right(q, a) for q, a in answerable),
        answerable=len(answerable),
        declined=sum(right(q, a) for q, a in unanswerable),
        unanswerable=len(unanswerable),
        hits=sum(any(d.endswith(q.document or "") for d in a.retrieved) for q, a in answerable),
    )


def ask_all(base_url: str, model: str, questions: Sequence[Question], told: Callable[[], None]) -> list[Answer]:
    """The answers to all questions, in their order; `told` is called after each.

    Raises StepError where the endpoint refuses one.
    """

    def one(question: Question) -> Answer:
        answer = ask(base_url, model, question.text)
        told()
        return answer

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, questions))
