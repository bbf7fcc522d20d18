"""What plans look at of the objects around a resource.

Controllers of Kubernetes report on our children all the time: times of heartbeats, counts that no plan reads, what a
pod's template looks like with every default. None of that is kept, so that none of it is a reason to plan again. What
we write ourselves is kept whole: it is compared with what is desired, leaf by leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from hearth.api.base import Json

REVISION = "deployment.kubernetes.io/revision"
"""The Deployment controller counts its revisions in this annotation: on the Deployment in a write of its own, and on
each ReplicaSet before it has a pod."""
POD_CONDITIONS = frozenset({"PodScheduled", "PodReadyToStartContainers", "Ready", "DisruptionTarget"})
CLAIM = "persistentVolumeClaim"
_POD_METADATA = ("name", "namespace", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
_LINK_METADATA = ("name", "namespace", "uid", "resourceVersion")
_CONDITION = ("type", "status", "reason", "message")
_CONTAINER_STATUS = ("name", "image", "ready", "state", "lastState")
_ROLLOUT = ("observedGeneration", "replicas", "updatedReplicas", "availableReplicas")
_NOT_OURS = ("managedFields", "generateName", "selfLink")


def seen(obj: Json) -> Json:
    """The parts of the object that a plan may look at; the object itself stays as it is."""
    look = _BY_KIND.get(obj["kind"], _whole)
    return look(obj)


def _whole(obj: Json) -> Json:
    return {**obj, "metadata": _without(obj["metadata"], _NOT_OURS)}


def _pod(pod: Json) -> Json:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept: Json = {
        "apiVersion": pod["apiVersion"],
        "kind": pod["kind"],
        "metadata": _only(pod["metadata"], _POD_METADATA) | _controller(pod["metadata"]),
        "spec": _only(spec, ("nodeName",)),
        "status": _only(status, ("phase", "startTime")),
    }
    claims = [_only(v, ("name", CLAIM)) for v in spec.get("volumes") or () if CLAIM in v]
    if claims:
        kept["spec"]["volumes"] = claims
    for group in ("initContainers", "containers"):
        if group in spec:
            kept["spec"][group] = [_only(c, ("name", "resources")) for c in spec[group]]
    for group in ("initContainerStatuses", "containerStatuses"):
        if group in status:
            kept["status"][group] = [_only(s, _CONTAINER_STATUS) for s in status[group]]
    if "conditions" in status:
        told = [c for c in status["conditions"] if c["type"] in POD_CONDITIONS]
        kept["status"]["conditions"] = [_only(c, (*_CONDITION, "lastTransitionTime")) for c in told]
    return kept


def _replica_set(replica_set: Json) -> Json:
    """A link between a Deployment and its pods, with the revision that they are of."""
    meta = replica_set["metadata"]
    kept = _only(meta, _LINK_METADATA) | _controller(meta)
    revision = _only(meta.get("annotations") or {}, (REVISION,))
    return {
        "apiVersion": replica_set["apiVersion"],
        "kind": replica_set["kind"],
        "metadata": kept | ({"annotations": revision} if revision else {}),
    }


def _deployment(deployment: Json) -> Json:
    kept = _whole(deployment)
    kept["metadata"] |= {"annotations": _without(kept["metadata"].get("annotations") or {}, (REVISION,))}
    status = deployment.get("status") or {}
    kept["status"] = _only(status, _ROLLOUT)
    if "conditions" in status:
        kept["status"]["conditions"] = [_only(c, _CONDITION) for c in status["conditions"]]
    return kept


def _without_status(obj: Json) -> Json:
    return {name: value for name, value in _whole(obj).items() if name != "status"}


def _job(job: Json) -> Json:
    kept = _whole(job)
    kept["status"] = _only(job.get("status") or {}, ("startTime", "conditions"))
    return kept


_BY_KIND: dict[str, Callable[[Json], Json]] = {
    "Pod": _pod,
    "ReplicaSet": _replica_set,
    "Deployment": _deployment,
    "Job": _job,
    "Service": _without_status,
    "PodDisruptionBudget": _without_status,
}


def _controller(metadata: Json) -> Json:
    owners = [r for r in metadata.get("ownerReferences") or () if r.get("controller")]
    return {"ownerReferences": owners} if owners else {}


def _only(value: Json, names: Collection[str]) -> Json:
    return {name: value[name] for name in names if name in value}


def _without(value: Json, names: Collection[str]) -> Json:
    return {name: item for name, item in value.items() if name not in names}
