"""The Job that reads a model's facts before anything expensive is made for it."""

from __future__ import annotations

from hearth.api.base import GROUP, Json
from hearth.api.shapes import Accelerator, PodOverrides, Scheduling
from hearth.render.gpu import beside_gpus
from hearth.render.labels import owner_labels, pod_labels
from hearth.render.names import child_name, digest8
from hearth.render.one_node import beside_other_readers
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import let_in, with_env
from hearth.render.sources import Mount, hub_token_env, mount

RETRY_SECONDS, LONGEST_RETRY_SECONDS = 120, 1800
"""A finished inspection goes after this time: a failed one is then made again, and sees what has changed since."""

MODEL_PATH = "/model"
SCRIPTS_PATH = "/hearth"
INSPECTION = ("inspect_model.py", "model_layout.py")
"""The programs of `hearth.render.scripts` that an inspection takes."""
REREAD = f"{GROUP}/reread"
"""Annotation of a resource and of an inspection's pod: another value is another inspection."""


def inspect_container(image: str, source: Mount, hub_secret: str | None) -> Json:
    """The container that reads the facts; it needs python3 and the ConfigMap volume `scripts`."""
    container: Json = {
        "name": "inspect",
        "image": image,
        "command": ["python3", f"{SCRIPTS_PATH}/inspect_model.py", source.path],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [*source.mounts, {"name": "scripts", "mountPath": SCRIPTS_PATH, "readOnly": True}],
    }
    env = hub_token_env(hub_secret)
    return {**container, "env": env} if env else container


def scripts_volume(config_map: str) -> Json:
    """The volume that holds the programs of `hearth.render.scripts`."""
    return {"name": "scripts", "configMap": {"name": config_map}}


def inspection_job(
    owner: Json,
    uri: str,
    *,
    image: str,
    config_map: str,
    hub_secret: str | None = None,
    scheduling: Scheduling | None = None,
    overrides: PodOverrides | None = None,
    asked: str = "",
    claim: str | None = None,
    accelerator: Accelerator | None = None,
    failing_seconds: float = 0,
) -> Json:
    """A Job that mounts the model read-only and writes its facts to the pod's termination message.

    A missing or unreadable model (exit 66) fails it at once; an unreachable hub (exit 69) is tried again. What has
    failed for `failing_seconds` is left alone for as long again, so that the tries grow rare. The name has the pod's
    digest: another URI, another Secret for it, or another value of the annotation (`asked`) is another Job, because the
    template of a Job cannot be changed. `claim`: the model's claim where one node at a time can mount it. That may
    be a node which is kept for pods with GPUs (`accelerator`: those of the engine).
    """
    source = mount(uri, "model", MODEL_PATH)
    template = restricted_pod(
        labels=pod_labels(owner, "inspect"),
        annotations={REREAD: asked} if asked else None,
        containers=[with_env(inspect_container(image, source, hub_secret), overrides)],
        volumes=[*source.volumes, scripts_volume(config_map)],
        restart_policy="Never",
    )
    if claim is not None:
        template = beside_gpus(beside_other_readers(template, claim), accelerator or Accelerator())
    template = let_in(template, scheduling, overrides)
    missing: Json = {"action": "FailJob", "onExitCodes": {"containerName": "inspect", "operator": "In", "values": [66]}}
    disrupted: Json = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": child_name(owner["metadata"]["name"], f"inspect-{digest8(template)}"),
            "labels": owner_labels(owner),
        },
        "spec": {
            "backoffLimit": 3,
            "ttlSecondsAfterFinished": int(min(max(RETRY_SECONDS, failing_seconds), LONGEST_RETRY_SECONDS)),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": [disrupted, missing]},
            "template": template,
        },
    }
