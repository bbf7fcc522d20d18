"""The VectorIndex that a service answers from, as its status describes it."""

from __future__ import annotations

from dataclasses import dataclass

from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.plan.index_match import TYPE as EMBEDDERS_MATCH
from hearth.plan.transition import condition
from hearth.plan.world import ObjectKey, World
from hearth.render.gateway import Index, retrieval
from hearth.render.indexer_job import mark_of
from hearth.render.vllm import PORT

SEARCHES_WORDS = frozenset({"BM25", "Hybrid"})
"""Capabilities of an engine that only an index built with words has."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """The index, or why it cannot be searched yet."""

    index: Index | None = None
    retrieval: str | None = None
    reason: str = ""
    message: str = ""
    stalled: bool = False


def index_key(owner: Json, name: str) -> ObjectKey:
    """The key of a VectorIndex beside the service."""
    return ObjectKey("VectorIndex", owner["metadata"]["namespace"], name)


def resolve_index(world: World, spec: LLMServiceSpec) -> IndexState | None:
    """The state of the index that `rag.indexRef` names; None for a service without RAG."""
    if spec.rag is None:
        return None
    name = spec.rag.index_ref.name
    found = world.related.get(index_key(world.owner, name))
    if found is None:
        return IndexState(reason="IndexNotFound", message=f"VectorIndex {name} does not exist in this namespace")
    status = found.get("status", {})
    builds, embeddings = status.get("builds", {}), status.get("embeddings", [])
    if not (status.get("endpoint") and builds.get("active") and builds.get("alias") and embeddings):
        return IndexState(reason="IndexNotReady", message=f"VectorIndex {name} has no complete build yet")
    match = condition(status, EMBEDDERS_MATCH)
    if match.get("status") == "False":
        return IndexState(reason=match["reason"], message=f"VectorIndex {name}: {match['message']}")
    index = _index(world, name, found, embeddings[0])
    if spec.rag.retrieval == "Hybrid" and "Hybrid" not in index.capabilities:
        message = f"rag.retrieval: Hybrid, but VectorIndex {name} {_lacks(index, status)}"
        return IndexState(reason="RetrievalNotPossible", message=message, stalled=True)
    return IndexState(index=index, retrieval=retrieval(spec.rag, index))


def _capabilities(status: Json) -> tuple[str, ...]:
    """What the build that serves can do: what its engine can, without words where it was built without them.

    Its own fact decides, and not the spec, which may ask for another build by now.
    """
    engine: list[str] = status.get("capabilities", [])
    words = status.get("resolved", {}).get("sparse", False)
    return tuple(c for c in engine if words or c not in SEARCHES_WORDS)


def _lacks(index: Index, status: Json) -> str:
    """Why the index cannot be searched by words, and what to do."""
    if "Hybrid" in status.get("capabilities", []):
        return "was built without words; use Dense, or leave sparse out of the index's spec"
    return f"can only do: {', '.join(index.capabilities) or 'Dense'}; use Dense, or topology: Lite"


def _secret(part: Json | None) -> str | None:
    """Name of the Secret that a part of an index's spec or status names."""
    return ((part or {}).get("secretRef") or {}).get("name")


def _index(world: World, name: str, found: Json, embedding: Json) -> Index:
    status, spec = found["status"], found.get("spec", {})
    # A status of an earlier version says nothing of keys.
    asked = next((e for e in spec.get("embeddings", []) if e["serviceRef"] == embedding["serviceRef"]), None)
    namespace, domain = world.owner["metadata"]["namespace"], world.settings.cluster_domain
    return Index(
        name=name,
        endpoint=status["endpoint"],
        collection=status["builds"]["alias"],
        owner=mark_of(found, spec.get("milvus", {}).get("topology", "Standalone")),
        embedding_url=f"http://{embedding['serviceRef']['name']}.{namespace}.svc.{domain}:{PORT}/v1",
        embedding_model=embedding.get("model") or embedding["serviceRef"]["name"],
        field=f"dense_{embedding['name']}",
        query_prefix=embedding.get("queryPrefix"),
        capabilities=_capabilities(status),
        milvus_secret=_secret(spec.get("milvus", {}).get("external")),
        embedder_secret=_secret(embedding) or _secret(asked),
    )
