"""Pods that have a node but no container yet, for so long that their volume may be the cause.

The kubelet says why in Events, which are not watched. A pod's status still tells a lot: it has been given a node, no
container was created, and PodReadyToStartContainers, which is True once volumes are mounted and the network is there,
is not (KEP-3085). The kubelet of Kubernetes 1.36 says so before it pulls images (kubelet.go, OnPodSandboxReady); an
older one may say so only afterwards, so that a long pull looks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.plan.pod_trouble import Trouble

PATIENCE = timedelta(minutes=3)
"""A disk is detached from one node and attached to another within a minute or two; the kubelet complains of one that
is not there after 2 min 3 s."""

BEFORE_CREATION = {"ContainerCreating", "PodInitializing"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim that the pods mount. `one_node`: pods on several nodes cannot."""

    name: str
    modes: tuple[str, ...]
    one_node: bool

    def __str__(self) -> str:
        """The claim as people know it."""
        return f"PersistentVolumeClaim {self.name} ({', '.join(self.modes) or 'access mode unknown'})"


def waiting_for_volume(
    pods: Sequence[Json], readers: Sequence[Json], claim: Claim | None, now: datetime
) -> Trouble | None:
    """What one of `pods` has been waiting for longer than `PATIENCE`, as far as its status tells and that of `readers`.

    Readers are the pods that may have the claim.
    """
    for pod in pods:
        since = _placed_at(pod)
        if since is not None and now - since >= PATIENCE:
            return _likely_cause(pod, readers, claim)
    return None


def next_look(pods: Sequence[Json], now: datetime) -> timedelta | None:
    """When a pod that waits now will have waited too long: no event tells of it."""
    left = [since + PATIENCE - now for pod in pods if (since := _placed_at(pod)) is not None]
    return min((wait for wait in left if wait > timedelta(0)), default=None)


def _placed_at(pod: Json) -> datetime | None:
    """When the pod was given its node, if no container has been created there since; None otherwise."""
    status = pod.get("status", {})
    if status.get("phase", "Pending") != "Pending" or "deletionTimestamp" in pod["metadata"]:
        return None
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if conditions.get("PodReadyToStartContainers", {}).get("status") == "True":
        return None
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") != "True" or "lastTransitionTime" not in placed:
        return None
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    if any(c.get("state", {}).get("waiting", {}).get("reason") not in BEFORE_CREATION for c in containers):
        return None
    return datetime.fromisoformat(placed["lastTransitionTime"])


def _likely_cause(pod: Json, readers: Sequence[Json], claim: Claim | None) -> Trouble:
    name, node = pod["metadata"]["name"], pod.get("spec", {}).get("nodeName", "?")
    holder = next((p for p in readers if _holds(p, claim.name, node)), None) if claim and claim.one_node else None
    if holder is not None:
        at = f"pod {holder['metadata']['name']} on node {holder['spec']['nodeName']}"
        message = (
            f"pod {name} waits on node {node} for {claim}, which one node at a time can mount, and {at} has it: "
            "use a claim that is ReadWriteMany or ReadOnlyMany, or bring the pods to one node"
        )
        return Trouble("VolumeInUse", message, lasting="deletionTimestamp" not in holder["metadata"])
    what = f"{claim}" if claim is not None else "a volume"
    elsewhere = " (one node at a time can mount this claim: another pod may have it elsewhere)"
    perhaps = elsewhere if claim and claim.one_node else ""
    message = (
        f"pod {name} has been given node {node}, and no container was created there since: its image, its network or "
        f"{what} comes late{perhaps}. `kubectl describe pod {name}` has the node's own words"
    )
    return Trouble("PodNotStarted", message, lasting=False)


def _holds(pod: Json, claim: str, node: str) -> bool:
    """Whether the pod runs on another node, and has the claim there."""
    spec = pod.get("spec", {})
    claims = {v.get("persistentVolumeClaim", {}).get("claimName") for v in spec.get("volumes", [])}
    elsewhere = spec.get("nodeName") not in (None, node)
    return elsewhere and claim in claims and pod.get("status", {}).get("phase") == "Running"
