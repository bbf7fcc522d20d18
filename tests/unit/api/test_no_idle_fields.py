"""A field that nobody reads is not in the API: it would promise what nothing keeps."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hearth.api.base import ApiModel
from hearth.api.kinds import KINDS

ROOT = Path(__file__).resolve().parents[3]
PLACES = ("operator/src/hearth/plan", "operator/src/hearth/render", "images/trainer/src", "images/indexer/src")
READERS = "\n".join(path.read_text() for place in PLACES for path in sorted((ROOT / place).rglob("*.py")))
"""Decisions and what they make, and the images that are handed a part of the spec as JSON."""


def models(annotation: object) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models(argument)


def fields(model: type[ApiModel], path: str) -> Iterator[tuple[str, str]]:
    """Path in the spec, and the attribute that code reads."""
    for name, field in model.model_fields.items():
        where = f"{path}.{field.alias or name}"
        yield where, name
        for inner in models(field.annotation):
            yield from fields(inner, where)


EVERY = [entry for kind in KINDS for entry in fields(kind.spec, kind.kind)]


@pytest.mark.parametrize(("path", "attribute"), EVERY, ids=[path for path, _ in EVERY])
def test_a_field_is_read(path: str, attribute: str) -> None:
    on_the_wire = path.rpartition(".")[2]
    assert re.search(rf"\.{attribute}\b", READERS) or f'"{on_the_wire}"' in READERS, f"nothing reads {path}"
