"""Pods of the tests in namespaces that admit only what the restricted Pod Security Standard allows."""

from __future__ import annotations

from typing import Any

NAMESPACE_LABELS = {"pod-security.kubernetes.io/enforce": "restricted"}


def restricted_pod(
    name: str,
    namespace: str,
    image: str,
    command: list[str] | None = None,
    folders: dict[str, dict[str, Any]] | None = None,
    **container: Any,
) -> dict[str, Any]:
    """A pod that runs once, as restricted as Hearth's own: user 65532, nothing writable but /tmp and `folders`.

    Those are sources of volumes by the path where they are mounted.
    """
    sources = {"/tmp": {"emptyDir": {}}, **(folders or {})}
    names = {path: f"folder-{number}" for number, path in enumerate(sources)}
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    main = {
        "name": "main",
        "image": image,
        "securityContext": security,
        "volumeMounts": [{"name": names[path], "mountPath": path} for path in sources],
        **({"command": command} if command else {}),
        **container,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [main],
            "volumes": [{"name": names[path], **source} for path, source in sources.items()],
        },
    }
