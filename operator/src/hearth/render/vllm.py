"""The engine of an LLMService: a vLLM Deployment, Ready only after it has answered, and drained before it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hearth.api.base import GROUP, Json, quantity
from hearth.api.llmservice import Engine, LLMServiceSpec
from hearth.api.shapes import Accelerator
from hearth.render.gpu import with_gpus
from hearth.render.inspection import INSPECTION, MODEL_PATH, SCRIPTS_PATH, scripts_volume
from hearth.render.labels import owner_labels, pod_labels, selector
from hearth.render.names import child_name, digest8
from hearth.render.one_node import beside_other_readers
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import with_overrides, with_resources, with_scheduling
from hearth.render.request_time import drain_seconds
from hearth.render.scripts import script
from hearth.render.sources import hub_repository, hub_token_env, mount

PORT = 8000
SCRIPTS = ("drain.py", *INSPECTION, "probe_completion.py", "verify_manifest.py")
GIB, MIB = 2**30, 2**20

SETTLE_SECONDS = 8
"""Time for every node's proxy to learn that a pod is ending, before it may count itself idle."""

SHARED_MEMORY = "1Gi"
CPU_REQUEST = "250m"
"""A share, not a limit: an engine takes what is idle. More would keep a surge pod off a small node."""

PROBE_PERIOD = 5
LOAD_BYTES_PER_SECOND = 50e6
"""A slow network disk: what loading is allowed to take before the pod is given up."""

MODEL_DIGEST = f"{GROUP}/model-digest"
TEMPLATE_HASH = f"{GROUP}/template-hash"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"

EXECUTOR = "distributed-executor-backend"
IN_ONE_PROCESS = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""On a CPU the engine's scheduler computes itself (vLLM 0.32). vLLM takes a process for each there, even if asked for
`uni`: it wants OpenMP's environment set before the second begins (vllm/platforms/cpu.py). Here the pod sets it for all
of them, see `_environment`. docs/decisions/0009-a-cpu-engine-computes-in-its-scheduler.md has the figures."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What the plan settled for one engine: the spec's open ends, closed."""

    image: str
    uri: str
    digest: str
    verify: bool
    """The digest is a manifest's: every file is checked against it before the engine starts."""
    served_name: str
    device: Literal["CPU", "GPU"]
    accelerator: Accelerator | None
    max_model_len: int
    max_concurrency: int
    weight_bytes: int
    kv_cache_bytes: int
    memory_bytes: int
    """Main memory of the pod."""
    revision: str | None = None
    """Commit of a hub's repository that was read; None where none is known."""
    claim: str | None = None
    """The claim of the weights where one node at a time can mount it."""


def engine_name(owner: str) -> str:
    """Name of the engine's Deployment, Service, ConfigMap and PodDisruptionBudget."""
    return child_name(owner, "engine")


def startup_seconds(weight_bytes: int) -> int:
    """How long a pod may take until its first answer: ten minutes, and the weights from a slow disk."""
    return 600 + math.ceil(weight_bytes / LOAD_BYTES_PER_SECOND)


def engine_config_map(owner: Json) -> Json:
    """The programs that run beside the engine. A new version of them restarts nothing."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": engine_name(owner["metadata"]["name"]), "labels": owner_labels(owner)},
        "data": {name: script(name) for name in SCRIPTS},
    }


def engine_arguments(owner: str, spec: LLMServiceSpec, choice: EngineChoice) -> list[str]:
    """vLLM's command line. A flag stands here only if the user wrote it or the plan rests on it."""
    engine = spec.engine or Engine()
    arguments = _model_arguments(choice)
    arguments += [
        *_names(owner, spec, choice),
        f"--port={PORT}",
        f"--max-model-len={choice.max_model_len}",
        f"--max-num-seqs={choice.max_concurrency}",
    ]
    if spec.task == "Embed":
        arguments.append("--runner=pooling")
    if engine.dtype is not None:
        arguments.append(f"--dtype={engine.dtype.lower()}")
    if choice.device == "CPU":
        arguments.append("--enforce-eager")
        if EXECUTOR not in (engine.args or {}):
            arguments.append(f"--{EXECUTOR}={IN_ONE_PROCESS}")
    elif choice.accelerator and (choice.accelerator.count or 1) > 1:
        arguments.append(f"--tensor-parallel-size={choice.accelerator.count}")
    return arguments + [_flag(name, value) for name, value in sorted((engine.args or {}).items())]


def pinned_name(owner: str, digest: str) -> str:
    """The name under which an embedder serves exactly this model, beside its usual one.

    Vectors of two models cannot be compared. Whoever asks by this name gets an error, and no vector, from a pod that
    serves another model: in the middle of a rollout too. It begins with the resource's name, which never changes: an
    index goes on asking by it when `servedName` is another.
    """
    return f"{owner}@{digest.removeprefix('sha256:')[:12]}"


def _names(owner: str, spec: LLMServiceSpec, choice: EngineChoice) -> list[str]:
    if spec.task != "Embed":
        return [f"--served-model-name={choice.served_name}"]
    # Indexes that an earlier version built ask by the served name and the digest. Mostly both are one name.
    pinned = dict.fromkeys(pinned_name(name, choice.digest) for name in (owner, choice.served_name))
    # argparse takes several values only as words of their own.
    return ["--served-model-name", choice.served_name, *pinned]


def _model_arguments(choice: EngineChoice) -> list[str]:
    """The commit that was read, not the branch: pods that start later serve the same weights. The tokenizer follows."""
    if not choice.uri.startswith("hf://"):
        return [f"--model={mount(choice.uri, 'model', MODEL_PATH).path}"]
    repository, written = hub_repository(choice.uri)
    revision = choice.revision or written
    return [f"--model={repository}", *([f"--revision={revision}"] if revision else [])]


def _flag(name: str, value: str) -> str:
    return {"true": f"--{name}", "false": f"--no-{name}"}.get(value, f"--{name}={value}")


def _environment(spec: LLMServiceSpec, choice: EngineChoice) -> list[Json]:
    """No telemetry, no hub unless the model comes from there, caches in the pod's own /tmp."""
    values = {"HOME": "/tmp", "USER": "nonroot", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}  # noqa: S108
    # Said either way: an image may bring a value of its own, as the one for CPUs does.
    values["HF_HUB_OFFLINE"] = "0" if choice.uri.startswith("hf://") else "1"
    if choice.device == "CPU":
        values["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, choice.kv_cache_bytes // GIB))
        # Pods that share a node's cores must not all be bound to the same ones.
        values["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        # Threads that spin while they wait take the cores from the very threads they wait for. On a busy two-core node
        # small matrix products ran four to nine times as often with sleeping threads.
        values["OMP_WAIT_POLICY"] = "PASSIVE"
        limit = (spec.resources.limits or {}).get("cpu") if spec.resources else None
        if limit is not None:
            values["OMP_NUM_THREADS"] = str(max(1, math.ceil(quantity(limit))))
    own = {e.name: e.value for e in (spec.engine.env or [])} if spec.engine else {}
    secret = spec.model.secret_ref.name if spec.model.secret_ref else None
    return [*({"name": k, "value": v} for k, v in (values | own).items()), *hub_token_env(secret)]


def _probes(spec: LLMServiceSpec, choice: EngineChoice) -> Json:
    ask = ["python3", f"{SCRIPTS_PATH}/probe_completion.py", spec.task, choice.served_name]
    return {
        "startupProbe": {
            "exec": {"command": ask},
            "periodSeconds": PROBE_PERIOD,
            "timeoutSeconds": 60,
            "failureThreshold": math.ceil(startup_seconds(choice.weight_bytes) / PROBE_PERIOD),
        },
        "readinessProbe": {**_health(), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**_health(), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
    }


def _health() -> Json:
    return {"httpGet": {"path": "/health", "port": "http"}}


def _engine_container(owner: str, spec: LLMServiceSpec, choice: EngineChoice, mounts: list[Json]) -> Json:
    drain = ["python3", f"{SCRIPTS_PATH}/drain.py", str(SETTLE_SECONDS), str(drain_seconds(spec))]
    container: Json = {
        "name": "engine",
        "image": choice.image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": engine_arguments(owner, spec, choice),
        "env": _environment(spec, choice),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"requests": {"cpu": CPU_REQUEST, "memory": f"{math.ceil(choice.memory_bytes / MIB)}Mi"}},
        "lifecycle": {"preStop": {"exec": {"command": drain}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*mounts, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
        **_probes(spec, choice),
    }
    return with_resources(container, spec.resources)


def _verify_container(choice: EngineChoice, path: str, mounts: list[Json]) -> Json:
    return {
        "name": "verify",
        "image": choice.image,
        "command": ["python3", f"{SCRIPTS_PATH}/verify_manifest.py", path, choice.digest],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "volumeMounts": mounts,
    }


def engine_template(owner: Json, spec: LLMServiceSpec, choice: EngineChoice) -> Json:
    """The engine's pod template: the same for the same spec and choice, so that nothing else starts a rollout."""
    source = mount(choice.uri, "model", MODEL_PATH)
    mounts: list[Json] = [*source.mounts, {"name": "scripts", "mountPath": SCRIPTS_PATH, "readOnly": True}]
    template = restricted_pod(
        labels=pod_labels(owner, "engine"),
        annotations={MODEL_DIGEST: choice.digest},
        containers=[_engine_container(owner["metadata"]["name"], spec, choice, mounts)],
        init_containers=[_verify_container(choice, source.path, mounts)] if choice.verify else [],
        volumes=[
            *source.volumes,
            scripts_volume(engine_name(owner["metadata"]["name"])),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
        ],
        grace_seconds=SETTLE_SECONDS + drain_seconds(spec) + 15,
    )
    template = beside_other_readers(template, choice.claim)
    template = with_gpus(with_scheduling(template, spec.scheduling), choice.accelerator, "engine")
    return with_overrides(template, spec.pod_overrides, "engine")


def engine_deployment(owner: Json, spec: LLMServiceSpec, choice: EngineChoice, replicas: int) -> Json:
    """One new pod answers before an old one drains; an old revision stays until the new one works."""
    template = engine_template(owner, spec, choice)
    labels = owner_labels(owner)
    if spec.scheduling and spec.scheduling.queue_name:
        labels[KUEUE_QUEUE] = spec.scheduling.queue_name
    keep = spec.rollout.revision_history_limit if spec.rollout else None
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": engine_name(owner["metadata"]["name"]),
            "labels": labels,
            "annotations": {TEMPLATE_HASH: digest8(template)},
        },
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3 if keep is None else keep,
            "progressDeadlineSeconds": startup_seconds(choice.weight_bytes) + 300,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector(owner, "engine")},
            "template": template,
        },
    }


def service(owner: Json, name: str, component: str) -> Json:
    """A Service on port 8000 to the pods of a component."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": owner_labels(owner)},
        "spec": {
            "selector": selector(owner, component),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def disruption_budget(owner: Json, component: str) -> Json:
    """Nodes are drained one pod at a time, and a pod that does not work never holds one up."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": child_name(owner["metadata"]["name"], component), "labels": owner_labels(owner)},
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(owner, component)},
        },
    }
