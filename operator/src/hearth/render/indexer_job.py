"""The Job that makes one build of an index, and the configuration that it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hearth.api.base import GROUP, Json, decimal
from hearth.api.shapes import PodOverrides
from hearth.api.vectorindex import Embedding, Source, VectorIndexSpec
from hearth.render.labels import owner_labels, pod_labels
from hearth.render.names import child_name, digest8
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import with_overrides, with_resources
from hearth.render.sources import Mount, mount

CONTAINER = "indexer"
CONFIG = "/etc/hearth"
SOURCES = "/sources"
TOKEN = "/var/run/secrets/hearth"  # noqa: S105 - a folder
TOKEN_KEY = "token"  # noqa: S105 - the name of a Secret's key

REINDEX = f"{GROUP}/reindex"
"""Annotation of a VectorIndex: a new value makes its sources be read again (a claim or a web page is not watched)."""

KILLED = 137
"""Exit code of a process that SIGKILL ended."""

BUILD = f"{GROUP}/build"
"""Label of the Job and its pods: which build they make."""

FINAL_CODES = [64, 65, 66, KILLED]
"""Exit codes that end the Job: bad configuration or more than the engine can do, bad documents; and SIGKILL, which is
mostly the end of a process that ran into its memory limit, and would be again. The plan tells which it was."""

RESOURCES_HASH = f"{GROUP}/resources-hash"
"""Annotation of the Job: digest of the resources that the spec gave it."""

LEDGER = "hearth_builds"
"""The collection in which the indexer keeps its records: no alias may have its name."""

RETRIES = 6
DEFAULT_RECALL = "0.95"


@dataclass(frozen=True, slots=True)
class Embedder:
    """The LLMService behind one embedding, as its status describes it."""

    url: str
    model: str
    """The pinned name: whoever asks for it is never answered by another model."""
    digest: str
    former: str | None = None
    """The pinned name that an earlier version gave the same model, where it is another: its vectors are as good."""


@dataclass(frozen=True, slots=True)
class Build:
    """Everything that a build is made from. `name` is a digest of it: another input is another build."""

    alias: str
    milvus_uri: str
    engine: str
    """What the engine is: another image may be able to do more."""
    embedders: tuple[Embedder, ...]
    """One per embedding, in the spec's order."""
    revisions: tuple[str, ...]
    """What is known of each source's content, in the spec's order; empty where nothing is."""
    asked: str
    """The annotation `hearth.dev/reindex`."""


def alias_of(owner: Json, topology: str) -> str:
    """The Milvus alias that readers use. Milvus allows letters, digits and underscores, and no digit first.

    A Milvus of somebody else may hold indexes of other namespaces and clusters, whose names look alike once they are
    written in these characters. There the alias ends with a digest of the resource's uid, which no other resource of
    any cluster has. An index that has an alias on record keeps it: aliases of earlier versions had no digest.
    """
    meta = owner["metadata"]
    if topology == "External":
        known: str | None = owner.get("status", {}).get("builds", {}).get("alias")
        return known or f"{_plain_name(meta['namespace'], meta['name'])}_{digest8(_uid(owner))}"
    return _plain_name(meta["name"])


def mark_of(owner: Json, topology: str) -> str:
    """What the indexer marks the index's builds with."""
    name = f"{owner['metadata']['namespace']}/{owner['metadata']['name']}"
    return f"{name}@{_uid(owner)}" if topology == "External" else name


def _plain_name(*names: str) -> str:
    alias = "_".join(names).replace("-", "_").replace(".", "_")
    return f"i_{alias}" if alias[0].isdigit() or alias == LEDGER else alias


def _uid(owner: Json) -> str:
    """Empty for a resource that exists only in a preview."""
    return str(owner["metadata"].get("uid", ""))


def build_name(spec: VectorIndexSpec, build: Build) -> str:
    """Eight hexadecimal characters. What does not change a build (query prefixes, kept builds, pods) is left out."""
    embeddings = [
        [e.name, e.metric, source.model, source.digest]
        for e, source in zip(spec.embeddings, build.embedders, strict=True)
    ]
    sources = [[s.name, s.uri, s.include, s.exclude, r] for s, r in zip(spec.sources, build.revisions, strict=True)]
    parts = [_plain(p) for p in (spec.parsing, spec.chunking, spec.sparse, spec.index)]
    return digest8([build.alias, build.milvus_uri, build.engine, sources, embeddings, parts, build.asked])


def _plain(part: object) -> object:
    dump = getattr(part, "model_dump", None)
    return dump(mode="json", exclude_none=True) if dump else None


def job_name(owner: str, name: str) -> str:
    """Name of the Job of a build, and of its ConfigMap."""
    return child_name(owner, f"index-{name}")


def config(owner: Json, spec: VectorIndexSpec, build: Build) -> Json:
    """What images/indexer reads; it refuses a key that it does not know."""
    told: Json = {
        "owner": f"{owner['metadata']['namespace']}/{owner['metadata']['name']}",
        "alias": build.alias,
        "milvus": _milvus(spec, build),
        "sources": [_source(at, s) for at, s in enumerate(spec.sources)],
        "embeddings": [
            _embedding(at, e, b) for at, (e, b) in enumerate(zip(spec.embeddings, build.embedders, strict=True))
        ],
        "index": _index(spec),
    }
    if spec.milvus.topology == "External":
        told["uid"] = _uid(owner)
    if spec.parsing is not None:
        told["parsing"] = spec.parsing.model_dump(by_alias=True, exclude_none=True)
    if spec.chunking is not None:
        told["chunking"] = spec.chunking.model_dump(by_alias=True, exclude_none=True)
    if spec.sparse is not None:
        told["sparse"] = spec.sparse.enabled
    if spec.refresh is not None and spec.refresh.keep_builds is not None:
        told["keepBuilds"] = spec.refresh.keep_builds
    return told


def _milvus(spec: VectorIndexSpec, build: Build) -> Json:
    external = spec.milvus.external
    return {"uri": build.milvus_uri} | ({"tokenEnv": "HEARTH_MILVUS_TOKEN"} if external and external.secret_ref else {})


def _source(at: int, source: Source) -> Json:
    found: Json = {"name": source.name, "uri": source.uri}
    mounted = _mount(at, source)
    if mounted.mounts:
        found["path"] = mounted.path
    if source.include:
        found["include"] = source.include
    if source.exclude:
        found["exclude"] = source.exclude
    if source.secret_ref is not None:
        found["tokenEnv"] = f"HEARTH_SOURCE_TOKEN_{at}"
    return found


def _mount(at: int, source: Source) -> Mount:
    return mount(source.uri, f"source-{at}", f"{SOURCES}/{at}")


def _embedding(at: int, embedding: Embedding, made_by: Embedder) -> Json:
    found = {"name": embedding.name, "url": made_by.url, "model": made_by.model, "modelDigest": made_by.digest}
    if made_by.former:
        found["formerModel"] = made_by.former
    if embedding.metric:
        found["metric"] = embedding.metric
    if embedding.secret_ref is not None:
        found["apiKeyEnv"] = f"HEARTH_EMBEDDER_KEY_{at}"
    return found


def _index(spec: VectorIndexSpec) -> Json:
    asked = spec.index
    target = (asked.recall_target if asked else None) or DEFAULT_RECALL
    found: Json = {"recallTarget": decimal(target)}
    if asked is not None and asked.type is not None:
        found["type"] = asked.type
    if asked is not None and asked.measure is not None:
        found |= asked.measure.model_dump(by_alias=True, exclude_none=True)
    return found


def config_map(owner: Json, spec: VectorIndexSpec, build: Build, authority: str) -> Json:
    """The configuration, and the authority that signed the progress endpoint's certificate."""
    name = build_name(spec, build)
    text = json.dumps(config(owner, spec, build), indent=2, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": job_name(owner["metadata"]["name"], name), "labels": owner_labels(owner) | {BUILD: name}},
        "data": {"config.json": text, "ca.crt": authority},
    }


def job(owner: Json, spec: VectorIndexSpec, build: Build, *, image: str, progress_url: str) -> Json:
    """A Job that goes on where a killed one was, and gives up at once on what trying again cannot change."""
    name = build_name(spec, build)
    named = job_name(owner["metadata"]["name"], name)
    mounts = [_mount(at, s) for at, s in enumerate(spec.sources)]
    volumes = [volume for m in mounts for volume in m.volumes]
    volumes += [{"name": "config", "configMap": {"name": named}}, _token_volume()]
    template = restricted_pod(
        labels=pod_labels(owner, "index") | {BUILD: name},
        containers=[_container(owner, spec, mounts, image, progress_url)],
        volumes=volumes,
        restart_policy="Never",
        grace_seconds=30,
    )
    template = with_overrides(template, _placement(spec), CONTAINER)
    final: Json = {"containerName": CONTAINER, "operator": "In", "values": FINAL_CODES}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": named,
            "labels": owner_labels(owner) | {BUILD: name},
            "annotations": {RESOURCES_HASH: resources_hash(spec)},
        },
        "spec": {
            "backoffLimit": RETRIES,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
                    {"action": "FailJob", "onExitCodes": final},
                ]
            },
            "template": template,
        },
    }


def resources_hash(spec: VectorIndexSpec) -> str:
    """Stands for what the spec says of the indexer's resources."""
    return digest8(_plain(spec.indexer))


def _placement(spec: VectorIndexSpec) -> PodOverrides | None:
    """The overrides that hold for every pod of the index."""
    return spec.pod_overrides.model_copy(update={"env": None, "resources": None}) if spec.pod_overrides else None


def _container(owner: Json, spec: VectorIndexSpec, mounts: Sequence[Mount], image: str, progress_url: str) -> Json:
    meta = owner["metadata"]
    made = {
        "name": CONTAINER,
        "image": image,
        "command": ["python", "-m", "hearth_indexer"],
        "env": [
            {"name": "HEARTH_CONFIG", "value": f"{CONFIG}/config.json"},
            {
                "name": "KUBEFLOW_TRAINER_SERVER_URL",
                "value": f"{progress_url}/v1/progress/{meta['namespace']}/vectorindexes/{meta['name']}",
            },
            {"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": f"{TOKEN}/token"},
            {"name": "KUBEFLOW_TRAINER_SERVER_CA_CERT", "value": f"{CONFIG}/ca.crt"},
            *_tokens(spec),
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "3Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *(m for mounted in mounts for m in mounted.mounts),
            {"name": "config", "mountPath": CONFIG, "readOnly": True},
            {"name": "progress-token", "mountPath": TOKEN, "readOnly": True},
        ],
    }
    return with_resources(made, spec.indexer.resources if spec.indexer else None)


def _token_volume() -> Json:
    source = {"serviceAccountToken": {"audience": "hearth-progress", "expirationSeconds": 3600, "path": "token"}}
    return {"name": "progress-token", "projected": {"sources": [source]}}


def secrets(spec: VectorIndexSpec) -> dict[str, str]:
    """The Secrets that the spec names, by the environment variable of each token."""
    named = {f"HEARTH_SOURCE_TOKEN_{at}": s.secret_ref for at, s in enumerate(spec.sources)}
    named |= {f"HEARTH_EMBEDDER_KEY_{at}": e.secret_ref for at, e in enumerate(spec.embeddings)}
    named["HEARTH_MILVUS_TOKEN"] = spec.milvus.external.secret_ref if spec.milvus.external else None
    return {variable: ref.name for variable, ref in named.items() if ref is not None}


def secrets_of(live: Json) -> dict[str, str]:
    """The Secrets that a Job was made with, by the environment variable of each token."""
    (container,) = [c for c in live["spec"]["template"]["spec"]["containers"] if c["name"] == CONTAINER]
    found = {e["name"]: e.get("valueFrom", {}).get("secretKeyRef", {}).get("name") for e in container.get("env", ())}
    return {variable: name for variable, name in found.items() if name is not None and variable.startswith("HEARTH_")}


def _tokens(spec: VectorIndexSpec) -> list[Json]:
    """Tokens by environment variable, each from the key `token` of its Secret."""
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": TOKEN_KEY}}}
        for variable, name in secrets(spec).items()
    ]
