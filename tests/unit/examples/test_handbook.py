"""The handbook: enough documents, small enough for a ConfigMap, and questions that its text really answers."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth_indexer.documents import Document, RawDocument
from hearth_indexer.parse import parse

HANDBOOK = Path(__file__).parents[3] / "examples" / "handbook"
FILES = sorted((HANDBOOK / "documents").iterdir())


@pytest.fixture(scope="module")
def library() -> dict[str, Document]:
    """Every document as the indexer reads it, by file name."""
    read = {f.name: list(parse(RawDocument(f.name, f.name, f.read_bytes()), 500)) for f in FILES}
    assert all(len(found) == 1 for found in read.values())
    return {name: found[0] for name, found in read.items() if isinstance(found[0], Document)}


def text_of(document: Document) -> str:
    """All words of a document."""
    return " ".join(" ".join((*s.headings, s.text)) for s in document.sections)


QUESTIONS: list[dict[str, Any]] = [
    json.loads(line) for line in (HANDBOOK / "qa.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_there_are_at_least_forty_documents_in_three_formats(library: dict[str, Document]) -> None:
    assert len(library) >= 40
    assert {Path(name).suffix for name in library} == {".md", ".html", ".pdf"}


def test_the_config_map_takes_every_document_and_stays_under_a_mebibyte() -> None:
    manifest = yaml.safe_load((HANDBOOK / "kustomization.yaml").read_text(encoding="utf-8"))
    (generator,) = manifest["configMapGenerator"]

    assert generator["name"] == "handbook"
    assert generator["files"] == [f"documents/{f.name}" for f in FILES]
    assert sum(f.stat().st_size * 4 // 3 for f in FILES) < 2**20


def test_thirty_questions_of_which_six_have_no_answer() -> None:
    assert len(QUESTIONS) == 30
    assert sum(q["document"] is None for q in QUESTIONS) == 6
    assert all((q["answer"] is None) is (q["document"] is None) for q in QUESTIONS)


@pytest.mark.parametrize("row", [q for q in QUESTIONS if q["document"]], ids=lambda q: q["question"])
def test_the_answer_stands_in_its_document_and_in_no_other(row: dict[str, Any], library: dict[str, Document]) -> None:
    answer = re.compile(rf"(?<![\w.]){re.escape(row['answer'])}(?!\w)")
    holding = [name for name, document in library.items() if answer.search(text_of(document))]

    assert row["document"] in holding
    if not row["answer"].isdigit() and row["answer"] != "five months":
        assert holding == [row["document"]]


def test_passages_are_short_enough_for_a_small_model(library: dict[str, Document]) -> None:
    longest = max(len(s.text.split()) for d in library.values() for s in d.sections)

    assert longest <= 60


def test_the_pdfs_say_what_their_script_says(library: dict[str, Document]) -> None:
    script = runpy.run_path(str(HANDBOOK / "make_pdfs.py"))

    assert {n for n in library if n.endswith(".pdf")} == set(script["SOURCES"])
    for name in script["SOURCES"]:
        title, pages = script["pages"](name)
        expected = [((heading,), text, at) for at, page in enumerate(pages, start=1) for heading, text in page]
        assert library[name].title == title
        assert [(s.headings, s.text, s.page) for s in library[name].sections] == expected
