"""The volume, configuration and Jobs of a FineTuneJob.

Exit codes of the trainer decide what the Job controller does: interruptions are free, deterministic failures end the
Job at once, everything else is tried again up to `budget.retries` times.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from hearth.api.base import Json, quantity
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.shapes import Accelerator, PodOverrides
from hearth.render.gpu import beside_gpus, with_gpus
from hearth.render.inspection import MODEL_PATH, inspect_container, scripts_volume
from hearth.render.labels import owner_labels, pod_labels
from hearth.render.names import child_name, digest8
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import with_env, with_overrides, with_scheduling
from hearth.render.sources import Mount, mount, token_env

DATA_PATH = "/data"
CONFIG_PATH = "/etc/hearth"
TOKEN_PATH = "/var/run/hearth/token"  # noqa: S105 - a path
PREPARE, TRAIN = "prepare", "train"
DETERMINISTIC = (64, 65, 66, 73)
INTERRUPTED = 75
UNAVAILABLE = 69
"""Something outside, such as the hub, could not be reached."""
GRACE_SECONDS = 120
"""Time to finish one forward and backward pass and to write a checkpoint: seconds on a GPU, tens of seconds on CPU.
Cloud spot notices are 30 to 120 s, so more would not be given anyway."""
CHECK_MEMORY = "1Gi"
"""Limit of the check, which reads the rows one by one and keeps a digest of each; podOverrides may raise it."""
CPU_REQUEST = "250m"
"""A floor, so that training finds room beside services on a small node; without a limit it takes what is free."""
TEMPLATE_HASH = "hearth.dev/template-hash"
"""Annotation of a training Job: digest of the fields of spec that may change after the start."""
ROOM_HASH = "hearth.dev/room-hash"
"""Annotation of a training Job: digest of what the spec said of its volume when the Job was made."""
OUTPUT_HASH = "hearth.dev/output-hash"
"""Annotation of a training Job: digest of what the spec said of merging when the Job was made."""

ARTIFACTS = "artifacts"
"""How the claim of a job's weights is called, after the job's own name."""

MIB = 2**20


@dataclass(frozen=True, slots=True)
class TrainingPod:
    """What a training pod asks for. Memory in bytes."""

    image: str
    accelerator: Accelerator
    memory_request: int
    memory_limit: int
    progress_url: str


def claim_name(owner: Json) -> str:
    """The claim of checkpoints and artifacts."""
    return child_name(owner["metadata"]["name"], ARTIFACTS, limit=253)


def job_of_claim(claim: str) -> str | None:
    """The FineTuneJob whose `claim_name` this is; None where no job has such a claim.

    A name with dots cannot be read back from its claim's.
    """
    name, suffix = claim[: -len(ARTIFACTS) - 1], f"-{ARTIFACTS}"
    return name if claim.endswith(suffix) and name else None


def config_name(owner: Json) -> str:
    """The ConfigMap of the trainer's configuration."""
    return child_name(owner["metadata"]["name"], "train")


def claim(owner: Json, spec: FineTuneJobSpec, size: int) -> Json:
    """The volume; `size` in bytes is a floor that the spec may raise."""
    storage = spec.checkpoints.storage if spec.checkpoints else None
    body: Json = {
        "accessModes": [(storage.access_mode if storage else None) or "ReadWriteOnce"],
        "resources": {"requests": {"storage": (storage.size if storage else None) or f"{math.ceil(size / 2**30)}Gi"}},
    }
    if storage is not None and storage.storage_class_name is not None:
        body["storageClassName"] = storage.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(owner), "labels": owner_labels(owner)},
        "spec": body,
    }


def config_map(owner: Json, configs: dict[str, Json], authority: str, scripts: dict[str, str]) -> Json:
    """`prepare.json` and `train.json`, the certificate of the progress endpoint, and the inspection's program."""
    data = {name: json.dumps(config, indent=1, sort_keys=True) for name, config in configs.items()}
    if authority:
        data["ca.crt"] = authority
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": config_name(owner), "labels": owner_labels(owner)},
        "data": data | scripts,
    }


def source_mounts(spec: FineTuneJobSpec) -> dict[str, Mount]:
    """Where model and rows appear in the pods, by part: model, train, eval.

    Raises UnsupportedUriError for a URI that cannot be mounted.
    """
    assert spec.model.uri is not None
    mounts = {"model": mount(spec.model.uri, "model", MODEL_PATH)}
    mounts["train"] = mount(spec.dataset.train.uri, "rows", "/rows")
    if spec.dataset.eval is not None:
        mounts["eval"] = mount(spec.dataset.eval.uri, "held-out", "/held-out")
    return mounts


def prepare_name(owner: Json, identity: Json) -> str:
    """Name of the Job that checks these rows: other rows, another Job."""
    return child_name(owner["metadata"]["name"], f"prepare-{digest8(identity)}")


def train_name(owner: Json, identity: Json) -> str:
    """Name of the Job that trains what `identity` stands for."""
    return child_name(owner["metadata"]["name"], f"train-{digest8(identity)}")


def token_variables(spec: FineTuneJobSpec) -> dict[str, str]:
    """The variable with each part's token (model, train, eval), where its source names a Secret.

    A variable for each: what opens one host must not be sent to another.
    """
    return {part: f"HEARTH_{part.upper()}_TOKEN" for part in _secrets(spec)}


def _secrets(spec: FineTuneJobSpec) -> dict[str, str]:
    sources = {"model": spec.model, "train": spec.dataset.train, "eval": spec.dataset.eval}
    return {part: s.secret_ref.name for part, s in sources.items() if s is not None and s.secret_ref is not None}


def _tokens(spec: FineTuneJobSpec) -> list[Json]:
    secrets = _secrets(spec)
    return [token_env(variable, secrets[part]) for part, variable in token_variables(spec).items()]


def _volumes(owner: Json, mounts: dict[str, Mount]) -> list[Json]:
    found: list[Json] = [v for m in mounts.values() for v in m.volumes]
    return [*found, {"name": "config", "configMap": {"name": config_name(owner)}}]


def _container(name: str, image: str, mounts: dict[str, Mount], env: list[Json]) -> Json:
    return {
        "name": name,
        "image": image,
        "args": [name],
        "env": [{"name": "HEARTH_CONFIG", "value": f"{CONFIG_PATH}/{name}.json"}, *env],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            *(m for mounted in mounts.values() for m in mounted.mounts),
            {"name": "config", "mountPath": CONFIG_PATH, "readOnly": True},
        ],
    }


def _job(owner: Json, name: str, container: str, backoff: int, template: Json, codes: tuple[int, ...]) -> Json:
    disrupted: Json = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    on = {"operator": "In"}
    interrupted = {"containerName": container, **on, "values": [INTERRUPTED]}
    rules = [disrupted, {"action": "Ignore", "onExitCodes": interrupted}]
    rules.append({"action": "FailJob", "onExitCodes": {"containerName": container, **on, "values": list(codes)}})
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": owner_labels(owner)},
        "spec": {
            "backoffLimit": backoff,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": rules},
            "template": template,
        },
    }


def prepare_job(owner: Json, spec: FineTuneJobSpec, name: str, image: str) -> Json:
    """The CPU Job that reads the model's facts and checks the rows, before anything expensive is asked for."""
    mounts = source_mounts(spec)
    container = _container(PREPARE, image, mounts, _tokens(spec))
    container["resources"] = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": CHECK_MEMORY}}
    hub_secret = spec.model.secret_ref.name if spec.model.secret_ref else None
    inspect = inspect_container(image, mounts["model"], hub_secret)
    template = restricted_pod(
        labels=pod_labels(owner, PREPARE),
        containers=[_with_room(container, spec)],
        init_containers=[_with_room(with_env(inspect, spec.pod_overrides), spec)],
        volumes=[*_volumes(owner, mounts), scripts_volume(config_name(owner))],
        restart_policy="Never",
    )
    accelerator = spec.accelerator or Accelerator()
    if accelerator.count != 0:  # a node selector may well name the nodes that training needs
        template = beside_gpus(template, accelerator)
    template = with_overrides(with_scheduling(template, spec.scheduling), _check_overrides(spec), PREPARE)
    job = _job(owner, name, PREPARE, 3, template, DETERMINISTIC)
    job["metadata"]["annotations"] = {TEMPLATE_HASH: check_hash(spec)}
    missing = {"containerName": "inspect", "operator": "In", "values": [66]}
    job["spec"]["podFailurePolicy"]["rules"].append({"action": "FailJob", "onExitCodes": missing})
    return job


def check_hash(spec: FineTuneJobSpec) -> str:
    """Digest of the fields that say where and with what the rows are checked."""
    parts = (spec.scheduling, spec.pod_overrides)
    return digest8([p.model_dump(by_alias=True, exclude_none=True) if p else None for p in parts])


def _check_overrides(spec: FineTuneJobSpec) -> PodOverrides | None:
    """Where the pod may run and what it may pull hold for the check too; what a GPU needs does not."""
    if spec.pod_overrides is None:
        return None
    return spec.pod_overrides.model_copy(update={"resources": None, "runtime_class_name": None})


def _with_room(container: Json, spec: FineTuneJobSpec) -> Json:
    """The container with the memory limit of podOverrides, where that is more than its own."""
    resources = spec.pod_overrides.resources if spec.pod_overrides else None
    limit = (resources.limits or {}).get("memory") if resources else None
    own = container["resources"]["limits"]["memory"]
    if limit is None or quantity(limit) <= quantity(own):
        return container
    return {**container, "resources": {**container["resources"], "limits": {"memory": limit}}}


def changeable(spec: FineTuneJobSpec) -> str:
    """Digest of the fields that may change after the start; another digest is another training pod."""
    parts = (spec.accelerator, spec.scheduling, spec.pod_overrides, spec.budget)
    return digest8([p.model_dump(by_alias=True, exclude_none=True) if p else None for p in parts])


def room(spec: FineTuneJobSpec) -> str:
    """Digest of the volume's size and of how many checkpoints it has to hold."""
    checkpoints = spec.checkpoints
    size = checkpoints.storage.size if checkpoints and checkpoints.storage else None
    return digest8([size, checkpoints.keep if checkpoints else None])


def published(spec: FineTuneJobSpec) -> str:
    """Digest of whether the merged model is to be published, and of how far merging may move it."""
    asked = spec.output.model_dump(by_alias=True, exclude_none=True, include={"merge", "parity"}) if spec.output else {}
    return digest8(asked)


def train_job(owner: Json, spec: FineTuneJobSpec, name: str, pod: TrainingPod) -> Json:
    """The training Job. With a queue it is created suspended, and Kueue lets it go."""
    mounts = source_mounts(spec)
    container = _train_container(owner, spec, mounts, pod)
    template = restricted_pod(
        labels=pod_labels(owner, TRAIN),
        containers=[container],
        volumes=[
            *_volumes(owner, mounts),
            {"name": "data", "persistentVolumeClaim": {"claimName": claim_name(owner)}},
            _token_volume(),
        ],
        restart_policy="Never",
        grace_seconds=GRACE_SECONDS,
    )
    template = with_gpus(template, pod.accelerator, TRAIN)
    template = with_overrides(with_scheduling(template, spec.scheduling), spec.pod_overrides, TRAIN)
    retries = spec.budget.retries if spec.budget and spec.budget.retries is not None else 3
    job = _job(owner, name, TRAIN, retries, template, DETERMINISTIC)
    job["metadata"]["annotations"] = {
        TEMPLATE_HASH: changeable(spec),
        ROOM_HASH: room(spec),
        OUTPUT_HASH: published(spec),
    }
    if spec.scheduling is not None and spec.scheduling.queue_name is not None:
        job["metadata"]["labels"] = {
            **job["metadata"]["labels"],
            "kueue.x-k8s.io/queue-name": spec.scheduling.queue_name,
        }
        job["spec"]["suspend"] = True
    return job


def _train_container(owner: Json, spec: FineTuneJobSpec, mounts: dict[str, Mount], pod: TrainingPod) -> Json:
    meta = owner["metadata"]
    url = f"{pod.progress_url}/v1/progress/{meta['namespace']}/finetunejobs/{meta['name']}"
    told: list[Json] = [
        {"name": "KUBEFLOW_TRAINER_SERVER_URL", "value": url},
        {"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": f"{TOKEN_PATH}/token"},
        {"name": "KUBEFLOW_TRAINER_SERVER_CA_CERT", "value": f"{CONFIG_PATH}/ca.crt"},
    ]
    space: Json = {"name": "HEARTH_SPACE", "value": f"{DATA_PATH}/downloads"}
    # Threads that spin while they wait take the cores from the very threads they wait for: pods share a node's cores.
    sleeping: list[Json] = [] if pod.accelerator.count else [{"name": "OMP_WAIT_POLICY", "value": "PASSIVE"}]
    container = _container(TRAIN, pod.image, mounts, [*told, space, *sleeping, *_tokens(spec)])
    container["volumeMounts"] += [
        {"name": "data", "mountPath": DATA_PATH},
        {"name": "token", "mountPath": TOKEN_PATH, "readOnly": True},
    ]
    container["resources"] = {
        "requests": {"cpu": CPU_REQUEST, "memory": mebibytes(pod.memory_request)},
        "limits": {"memory": mebibytes(pod.memory_limit)},
    }
    return container


def _token_volume() -> Json:
    source = {"serviceAccountToken": {"audience": "hearth-progress", "expirationSeconds": 3600, "path": "token"}}
    return {"name": "token", "projected": {"sources": [source]}}


def mebibytes(size: int) -> str:
    """Bytes as a Quantity, rounded up."""
    return f"{math.ceil(size / MIB)}Mi"
