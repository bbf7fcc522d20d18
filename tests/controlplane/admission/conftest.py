"""A client that asks a real API server what it would say, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from connected_cluster import Connection
from hearth.api.base import API_VERSION
from hearth.api.kinds import KINDS
from hearth_cluster.cluster import Cluster

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
PLURALS = {kind.kind: kind.plural for kind in KINDS}


SMALLEST = {
    "FineTuneJob": {"model": {"uri": "hf://org/model@main"}, "dataset": {"train": {"uri": "configMap://rows/train"}}},
    "VectorIndex": {
        "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
    },
    "LLMService": {"model": {"uri": "pvc://models/smollm2"}},
}
"""The least that each kind needs."""


@dataclass
class Answer:
    """Whether the write was taken, and what the API server said."""

    accepted: bool
    body: Json

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@pytest.fixture(scope="session")
def smallest() -> dict[str, Json]:
    """The least that each kind needs."""
    return SMALLEST


class Admission:
    """Writes of custom resources, as `kubectl create`, `replace` and `patch` send them."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.kubectl = cluster.kubectl
        self.namespace = namespace
        self._connection = Connection(cluster)

    def dry_create(self, kind: str, spec: Json, name: str = "sample") -> Answer:
        """What creation would give, after defaulting."""
        return self._send("POST", self._path(kind) + "?dryRun=All&fieldValidation=Strict", _object(kind, spec, name))

    def create(self, kind: str, spec: Json, name: str) -> Answer:
        return self._send("POST", self._path(kind), _object(kind, spec, name))

    def status(self, kind: str, name: str, status: Json) -> Answer:
        return self._send(
            "PATCH", f"{self._path(kind, name)}/status", {"status": status}, "application/merge-patch+json"
        )

    def change(self, kind: str, name: str, spec: Json) -> Answer:
        """What a merge patch of the spec would give; None in `spec` removes a field."""
        path = self._path(kind, name) + "?dryRun=All&fieldValidation=Strict"
        return self._send("PATCH", path, {"spec": spec}, "application/merge-patch+json")

    def get(self, path: str) -> Answer:
        return self._send("GET", path)

    def delete(self, kind: str, name: str) -> Answer:
        return self._send("DELETE", self._path(kind, name))

    def _path(self, kind: str, name: str = "") -> str:
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/{PLURALS[kind]}"
        return f"{path}/{name}" if name else path

    def _send(self, method: str, path: str, body: Json | None = None, content: str = "application/json") -> Answer:
        status, answer = self._connection.send(method, path, body, **{"Content-Type": content})
        return Answer(status < 300, answer)


def _object(kind: str, spec: Json, name: str) -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="session")
def admission(control_plane: Cluster) -> Admission:
    """The API server with the committed definitions, applied as the README says."""
    client = Admission(control_plane, "default")
    client.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.await_definitions()
    return client


@pytest.fixture
def stored(admission: Admission) -> Iterator[Callable[..., str]]:
    """Makes resources that are really stored, with a status if asked for, and removes them afterwards."""
    made: list[tuple[str, str]] = []

    def make(kind: str, spec: Json, status: Json | None = None) -> str:
        name = f"stored-{len(made)}"
        answer = admission.create(kind, spec, name)
        assert answer.accepted, answer.message
        made.append((kind, name))
        if status is not None:
            assert (written := admission.status(kind, name, status)).accepted, written.message
        return name

    yield make
    for kind, name in made:
        admission.delete(kind, name)
