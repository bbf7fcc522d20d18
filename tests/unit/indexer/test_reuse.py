"""Which vectors of earlier generations are taken over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hearth_indexer.build import Builder
from hearth_indexer.chunk import Chunk
from hearth_indexer.ledger import Build
from hearth_indexer.settings import RunSettings

CHUNK = Chunk("1", "a.md", "A", "A", "text", "A text", position=0, page=0, digest="d")


class OneVector:
    """An engine with one earlier generation, which holds the chunk."""

    def exists(self, _: str) -> bool:
        return True

    def unindexed(self, _: str) -> bool:
        return False

    def load(self, _: str) -> None:
        """It is in memory."""

    def where_in(self, _: str, field: str, values: Sequence[str], wanted: Sequence[str]) -> list[dict[str, Any]]:
        assert (field, wanted) == ("digest", ["digest", "dense_text"])
        return [{"digest": value, "dense_text": [1.0]} for value in values]


class Zeros:
    """An embedder."""

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [[0.0] for _ in texts]


@pytest.mark.parametrize(
    ("made_by", "former", "reused"),
    [
        ("embedder@1@sha256:1", None, True),
        ("e5@1@sha256:1", "e5@1", True),
        ("e5@1@sha256:1", None, False),
        ("e5@1@sha256:2", "e5@1", False),
        ("embedder@1@sha256:2", "e5@1", False),
    ],
)
def test_vectors_are_reused_that_the_same_model_of_the_same_service_made(
    made_by: str, former: str | None, reused: bool
) -> None:
    embedding = {"name": "text", "url": "http://e/v1", "model": "embedder@1", "modelDigest": "sha256:1"}
    settings: dict[str, Any] = {
        "owner": "team/handbook",
        "alias": "handbook",
        "milvus": {"uri": "http://m"},
        "sources": [{"name": "s", "uri": "pvc://docs"}],
        "embeddings": [embedding | ({"formerModel": former} if former else {})],
    }
    asked = RunSettings.model_validate(settings)
    builder = Builder(OneVector(), asked, False, {"text": Zeros()}, print)  # type: ignore[arg-type, dict-item]
    earlier = Build("handbook_1", "handbook", "team/handbook", 0, 1, {"dense_text": made_by}, {"dense_text": 1})
    assert builder._column(asked.embeddings[0], [CHUNK], [earlier]) == [[1.0 if reused else 0.0]]
