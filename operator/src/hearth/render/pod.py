"""Pods under the restricted Pod Security Standard, with a read-only root file system.

Source of the rules: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (restricted).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hearth.api.base import Json

USER_ID = 65532
"""The `nonroot` user of distroless images, and of ours."""


def hardened(container: Json) -> Json:
    """The container with no capability, no way to gain privileges and a read-only root file system."""
    return {
        **container,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
    }


def restricted_pod(
    *,
    labels: Mapping[str, str],
    containers: Sequence[Json],
    init_containers: Sequence[Json] = (),
    volumes: Sequence[Json] = (),
    annotations: Mapping[str, str] | None = None,
    restart_policy: str | None = None,
    grace_seconds: int | None = None,
    writable_tmp: bool = True,
) -> Json:
    """A pod template whose containers are all `hardened`; no service-account token unless a volume projects one.

    `writable_tmp` gives every container an emptyDir at /tmp, the only writable place besides its own volumes.
    """
    made = [hardened(c) for c in containers]
    made_first = [hardened(c) for c in init_containers]
    all_volumes = list(volumes)
    if writable_tmp:
        all_volumes.append({"name": "tmp", "emptyDir": {}})
        made = [_with_tmp(c) for c in made]
        made_first = [_with_tmp(c) for c in made_first]
    spec: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": made,
    }
    if made_first:
        spec["initContainers"] = made_first
    if all_volumes:
        spec["volumes"] = all_volumes
    if restart_policy is not None:
        spec["restartPolicy"] = restart_policy
    if grace_seconds is not None:
        spec["terminationGracePeriodSeconds"] = grace_seconds
    metadata: Json = {"labels": dict(labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"metadata": metadata, "spec": spec}


def _with_tmp(container: Json) -> Json:
    mounts = [*container.get("volumeMounts", []), {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    return {**container, "volumeMounts": mounts}
