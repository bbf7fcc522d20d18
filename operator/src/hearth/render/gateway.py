"""The gateway of an LLMService: configuration, Deployment, and the Service that clients call."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from hearth.api.base import Json, decimal, quantity
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.rag import Rag
from hearth.api.sampling import Sampling
from hearth.render.labels import owner_labels, pod_labels, selector
from hearth.render.names import child_name, digest8
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import let_in, with_resources
from hearth.render.request_time import drain_seconds, request_seconds
from hearth.render.sources import TOKEN_KEY
from hearth.render.vllm import PORT, TEMPLATE_HASH, engine_name

KEYS_PATH = "/etc/hearth-keys"
MILVUS_PATH = "/etc/hearth-milvus"
EMBEDDER_PATH = "/etc/hearth-embedder"
MAX_QUEUED = 256
MEMORY_LIMIT = "512Mi"
SETTLE_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Index:
    """Where a VectorIndex answers, from its status."""

    name: str
    endpoint: str
    collection: str
    owner: str
    """What its builds are marked with."""
    embedding_url: str
    embedding_model: str
    field: str
    query_prefix: str | None
    capabilities: tuple[str, ...]
    milvus_secret: str | None = None
    """Secret with the token of a Milvus that asks for one."""
    embedder_secret: str | None = None
    """Secret with an API key of an embedder that asks for one."""


def gateway_name(owner: str) -> str:
    """Name of the gateway's Deployment and PodDisruptionBudget."""
    return child_name(owner, "gateway")


def has_gateway(spec: LLMServiceSpec) -> bool:
    """A gateway stands before every Generate service, and before every service with keys."""
    return spec.task == "Generate" or bool(spec.access and spec.access.api_keys_secret_ref)


def gateway_replicas(spec: LLMServiceSpec) -> int:
    """As written; else one for one engine pod, two for more."""
    if spec.gateway and spec.gateway.replicas is not None:
        return spec.gateway.replicas
    return 1 if spec.replicas <= 1 else 2


def container_resources(spec: LLMServiceSpec) -> Json:
    """Requests and limits of the gateway's container: ours, with the user's laid over them."""
    ours: Json = {"resources": {"requests": {"cpu": "100m", "memory": "160Mi"}, "limits": {"memory": MEMORY_LIMIT}}}
    found: Json = with_resources(ours, spec.gateway.resources if spec.gateway else None)["resources"]
    return found


def memory_bytes(spec: LLMServiceSpec) -> int:
    """What a gateway may take: it turns requests away that would not fit. A limit of 0 is none for the kubelet."""
    limit = quantity(str(container_resources(spec)["limits"]["memory"]))
    return int(limit or quantity(MEMORY_LIMIT))


def retrieval(rag: Rag, index: Index) -> str:
    """Dense or Hybrid: as written, else what the index can do."""
    return rag.retrieval or ("Hybrid" if "Hybrid" in index.capabilities else "Dense")


def gateway_config(
    owner: Json,
    spec: LLMServiceSpec,
    *,
    served_name: str,
    domain: str,
    max_model_len: int,
    max_concurrency: int,
    index: Index | None,
) -> Json:
    """What the gateway reads at HEARTH_CONFIG (images/gateway documents the format)."""
    metadata = owner["metadata"]
    queued = spec.engine.max_queued if spec.engine and spec.engine.max_queued is not None else MAX_QUEUED
    config: Json = {
        "service": f"{metadata['namespace']}/{metadata['name']}",
        "task": spec.task,
        "servedName": served_name,
        "upstream": f"http://{engine_name(metadata['name'])}.{metadata['namespace']}.svc.{domain}:{PORT}",
        "maxModelLen": max_model_len,
        "maxInFlight": max_concurrency + queued,
        "memoryBytes": memory_bytes(spec),
        "requestTimeoutSeconds": request_seconds(spec),
        "settleSeconds": SETTLE_SECONDS,
        "drainSeconds": drain_seconds(spec),
    }
    if spec.access and spec.access.api_keys_secret_ref:
        config["keysDirectory"] = KEYS_PATH
    if spec.sampling:
        config["sampling"] = _sampling(spec.sampling)
    if spec.prompt and spec.prompt.system:
        config["systemPrompt"] = spec.prompt.system
    if spec.rag and index:
        config["rag"] = _rag(spec.rag, index, max_model_len)
    return config


def _sampling(sampling: Sampling) -> Json:
    """Parameters under the names that the OpenAI API and vLLM give them."""
    values = {
        "temperature": decimal(sampling.temperature) if sampling.temperature is not None else None,
        "top_p": decimal(sampling.top_p) if sampling.top_p is not None else None,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "stop": sampling.stop,
        "seed": sampling.seed,
    }
    wire = {"topP": "top_p", "topK": "top_k", "maxTokens": "max_tokens"}
    return {
        "defaults": {name: value for name, value in values.items() if value is not None},
        "locked": sorted(wire.get(field, field) for field in sampling.lock or []),
    }


def _rag(rag: Rag, index: Index, max_model_len: int) -> Json:
    top_k = rag.top_k or 5
    found: Json = {
        "index": index.name,
        "milvus": {"uri": index.endpoint, "collection": index.collection, "owner": index.owner},
        "embedding": {"url": index.embedding_url, "model": index.embedding_model, "field": index.field},
        "retrieval": retrieval(rag, index),
        "topK": top_k,
        "candidates": max(top_k, rag.candidates or 40),
        "maxContextTokens": rag.max_context_tokens or max_model_len // 2,
        "fusionK": rag.fusion.k if rag.fusion and rag.fusion.k else 60,
        "citations": rag.citations is not False,
    }
    if index.milvus_secret:
        found["milvus"]["tokenFile"] = f"{MILVUS_PATH}/{TOKEN_KEY}"
    if index.embedder_secret:
        found["embedding"]["apiKeyFile"] = f"{EMBEDDER_PATH}/{TOKEN_KEY}"
    if index.query_prefix:
        found["embedding"]["queryPrefix"] = index.query_prefix
    if rag.prompt_template:
        found["promptTemplate"] = rag.prompt_template
    if rag.abstain and rag.abstain.min_similarity is not None:
        found["minSimilarity"] = decimal(rag.abstain.min_similarity)
    if rag.abstain and rag.abstain.message:
        found["abstainMessage"] = rag.abstain.message
    return found


def gateway_config_map(owner: Json, config: Json) -> Json:
    """The gateway's configuration, under a name with its digest: another one is another object.

    A pod of an old revision that is made again during a rollout must read what that revision was made for.
    """
    text = orjson.dumps(config, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": child_name(owner["metadata"]["name"], f"gateway-{digest8(text)}"),
            "labels": owner_labels(owner),
        },
        "immutable": True,
        "data": {"config.json": text},
    }


def _secrets(spec: LLMServiceSpec, index: Index | None) -> list[tuple[str, str, str]]:
    """Volumes of Secrets: name, Secret, path."""
    keys = spec.access.api_keys_secret_ref if spec.access else None
    found = [("keys", keys.name, KEYS_PATH)] if keys else []
    if index is not None and index.milvus_secret:
        found.append(("milvus-token", index.milvus_secret, MILVUS_PATH))
    if index is not None and index.embedder_secret:
        found.append(("embedder-key", index.embedder_secret, EMBEDDER_PATH))
    return found


def gateway_template(owner: Json, spec: LLMServiceSpec, image: str, config_map: str, index: Index | None) -> Json:
    """The gateway's pod template. Keys are mounted, so that a change of their Secret needs no restart."""
    mounts: list[Json] = [{"name": "config", "mountPath": "/etc/hearth", "readOnly": True}]
    volumes: list[Json] = [{"name": "config", "configMap": {"name": config_map}}]
    for volume, secret, path in _secrets(spec, index):
        volumes.append({"name": volume, "secret": {"secretName": secret, "optional": True}})
        mounts.append({"name": volume, "mountPath": path, "readOnly": True})
    container: Json = {
        "name": "gateway",
        "image": image,
        "command": ["python3", "-m", "hearth_gateway"],
        "env": [{"name": "HEARTH_CONFIG", "value": "/etc/hearth/config.json"}],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": container_resources(spec),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 10,
            "failureThreshold": 6,
        },
        "volumeMounts": mounts,
    }
    template = restricted_pod(
        labels=pod_labels(owner, "gateway"),
        containers=[container],
        volumes=volumes,
        grace_seconds=SETTLE_SECONDS + drain_seconds(spec) + 15,
    )
    return let_in(template, spec.scheduling, spec.pod_overrides)


def gateway_deployment(
    owner: Json, spec: LLMServiceSpec, image: str, config_map: str, index: Index | None = None
) -> Json:
    """The gateway's Deployment, whose pods read the ConfigMap: a new pod is Ready before an old one drains."""
    template = gateway_template(owner, spec, image, config_map, index)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": gateway_name(owner["metadata"]["name"]),
            "labels": owner_labels(owner),
            "annotations": {TEMPLATE_HASH: digest8(template)},
        },
        "spec": {
            "replicas": gateway_replicas(spec),
            "revisionHistoryLimit": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector(owner, "gateway")},
            "template": template,
        },
    }
