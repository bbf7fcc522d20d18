"""What a build is made from: the sources and the embedders, and whether they are there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hearth.api.base import Json
from hearth.api.vectorindex import Embedding, Source, VectorIndexSpec
from hearth.plan.conditions import Condition
from hearth.plan.world import ObjectKey, World
from hearth.render.indexer_job import TOKEN_KEY, Embedder
from hearth.render.names import digest8
from hearth.render.vllm import pinned_name

SOURCES = "SourcesReady"


@dataclass(frozen=True, slots=True)
class SourcesState:
    """The outcome for the sources. `revisions` is in the spec's order: empty where a content is not watched."""

    condition: Condition
    revisions: tuple[str, ...] = ()
    waiting_on: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether all of them are there."""
        return self.condition.status == "True"


@dataclass(frozen=True, slots=True)
class EmbeddersState:
    """The outcome for the embedders. `known` is None until each has said which model it serves."""

    known: tuple[Embedder, ...] | None = None
    ready: bool = False
    reason: str = ""
    message: str = ""
    waiting_on: str | None = None
    stalled: bool = False


def keys(owner: Json, spec: VectorIndexSpec) -> frozenset[ObjectKey]:
    """The ConfigMaps, claims and Secrets that the sources, the embeddings and an external Milvus name."""
    namespace = owner["metadata"]["namespace"]
    found = {key for source in spec.sources for key in _keys_of(namespace, source)}
    named = [
        spec.milvus.external.secret_ref if spec.milvus.external else None,
        *(e.secret_ref for e in spec.embeddings),
    ]
    return frozenset(found | {ObjectKey("Secret", namespace, ref.name) for ref in named if ref is not None})


def embedder_keys(owner: Json, spec: VectorIndexSpec) -> frozenset[ObjectKey]:
    """The LLMServices that the embeddings name."""
    namespace = owner["metadata"]["namespace"]
    return frozenset(ObjectKey("LLMService", namespace, e.service_ref.name) for e in spec.embeddings)


def _keys_of(namespace: str, source: Source) -> Iterator[ObjectKey]:
    scheme, _, rest = source.uri.partition("://")
    kind = {"configMap": "ConfigMap", "pvc": "PersistentVolumeClaim"}.get(scheme)
    if kind is not None:
        yield ObjectKey(kind, namespace, rest.partition("/")[0])
    if source.secret_ref is not None:
        yield ObjectKey("Secret", namespace, source.secret_ref.name)


def sources_state(world: World, spec: VectorIndexSpec) -> SourcesState:
    """Whether what the sources name is there. Whether it can be read, the indexer finds out."""
    namespace = world.owner["metadata"]["namespace"]
    complaints: list[str] = []
    waiting: set[str] = set()
    for source in spec.sources:
        for key in _keys_of(namespace, source):
            wrong = _missing(world.related.get(key), key, source)
            if wrong is not None:
                complaints.append(f"source {source.name}: {wrong}")
                waiting.add(f"{key.kind} {key.name}")
    secret = spec.milvus.external.secret_ref if spec.milvus.external else None
    if secret is not None:
        key = ObjectKey("Secret", namespace, secret.name)
        if world.related.get(key) is None:
            complaints.append(f"milvus.external: {_absent(key)}")
            waiting.add(f"Secret {secret.name}")
    if complaints:
        told = Condition(SOURCES, "False", "SourceNotFound", "; ".join(complaints))
        return SourcesState(told, waiting_on=tuple(sorted(waiting)))
    count = len(spec.sources)
    told = Condition(SOURCES, "True", "Found", f"{count} source{'s' if count > 1 else ''}")
    return SourcesState(told, tuple(_revision(world, namespace, s) for s in spec.sources))


def _missing(found: Json | None, key: ObjectKey, source: Source) -> str | None:
    if found is None:
        return _absent(key)
    entry = source.uri.partition("://")[2].partition("/")[2]
    if key.kind == "ConfigMap" and entry and entry not in {**found.get("data", {}), **found.get("binaryData", {})}:
        return f"ConfigMap {key.name} has no key {entry}"
    return None


def _revision(world: World, namespace: str, source: Source) -> str:
    """A digest of a ConfigMap's content. Claims, images by tag and web pages are not watched."""
    for key in _keys_of(namespace, source):
        found = world.related.get(key)
        if key.kind == "ConfigMap" and found is not None:
            return digest8([found.get("data", {}), found.get("binaryData", {})])
    return ""


def embedders_state(world: World, spec: VectorIndexSpec) -> EmbeddersState:
    """What the LLMServices of the embeddings serve, and whether they answer."""
    known: list[Embedder] = []
    not_ready: list[str] = []
    for embedding in spec.embeddings:
        name = embedding.service_ref.name
        found = world.related.get(ObjectKey("LLMService", world.owner["metadata"]["namespace"], name))
        if found is None:
            message = f"embedding {embedding.name}: LLMService {name} does not exist: create it with task: Embed"
            return EmbeddersState(reason="EmbedderNotFound", message=message, waiting_on=f"LLMService {name}")
        task = found["spec"].get("task", "Generate")
        if task != "Embed":
            message = f"embedding {embedding.name}: LLMService {name} has task {task}; an embedder has task: Embed"
            return EmbeddersState(reason="EmbedderWrongTask", message=message, stalled=True)
        locked = _key_missing(world, embedding, found)
        if locked is not None:
            return locked
        made_by = _embedder(found)
        if made_by is None or not _answers(found):
            not_ready.append(name)
        if made_by is not None:
            known.append(made_by)
    complete = tuple(known) if len(known) == len(spec.embeddings) else None
    if not_ready:
        message = f"LLMService {', '.join(not_ready)} does not answer yet"
        return EmbeddersState(complete, False, "EmbedderNotReady", message, f"LLMService {not_ready[0]}")
    return EmbeddersState(complete, True)


def _key_missing(world: World, embedding: Embedding, service: Json) -> EmbeddersState | None:
    """What is wrong where the service asks for API keys and none is at hand."""
    name = service["metadata"]["name"]
    if embedding.secret_ref is None:
        if not service["spec"].get("access", {}).get("apiKeysSecretRef"):
            return None
        message = (
            f"embedding {embedding.name}: LLMService {name} asks for API keys: put one of them into a Secret under the "
            f"key {TOKEN_KEY}, and name that Secret in the embedding's secretRef"
        )
        return EmbeddersState(reason="EmbedderKeyNeeded", message=message, stalled=True)
    key = ObjectKey("Secret", world.owner["metadata"]["namespace"], embedding.secret_ref.name)
    if world.related.get(key) is not None:
        return None
    message = f"embedding {embedding.name}: {_absent(key)}"
    return EmbeddersState(reason="EmbedderKeyNotFound", message=message, waiting_on=f"Secret {key.name}")


def _embedder(service: Json) -> Embedder | None:
    status = service.get("status", {})
    url, digest = status.get("url"), status.get("model", {}).get("digest")
    name, served = service["metadata"]["name"], status.get("resolved", {}).get("servedName")
    if not (url and digest and served):
        return None
    former = pinned_name(served, digest) if served != name else None
    return Embedder(url, pinned_name(name, digest), digest, former)


def _answers(service: Json) -> bool:
    conditions = service.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _absent(key: ObjectKey) -> str:
    with_key = f" with the key {TOKEN_KEY}" if key.kind == "Secret" else ""
    return f"{key.kind} {key.name} does not exist: create it{with_key}"
