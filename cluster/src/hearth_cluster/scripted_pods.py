"""Tells pods on fake nodes beforehand how they will fare: an admission policy annotates them when they are made.

For pods that somebody else creates, whose templates a test can't touch: the operator's Jobs above all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import fate

_API = "admissionregistration.k8s.io/v1"
_ACTIVE_SECONDS = 30.0


def script(cluster: Cluster, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    """From now on, pods with all of `labels` are created with `annotations`; an earlier script of that name goes.

    Raises:
        ClusterError: the API server did not take the policy into account in time.
    """
    cluster.apply(*policy(name, labels, annotations))
    deadline = time.monotonic() + _ACTIVE_SECONDS
    # The API server reads policies from a watch of its own: until it has, pods are still created without.
    while not annotations.items() <= _tried(cluster, labels).items():
        if time.monotonic() > deadline:
            raise ClusterError(f"the admission policy {name} is not in force after {_ACTIVE_SECONDS:.0f} s")
        time.sleep(0.2)


def script_end(
    cluster: Cluster, name: str, labels: Mapping[str, str], *, exit_code: int = 0, message: str = "", reason: str = ""
) -> None:
    """From now on, pods with all of `labels` end as soon as they run, with this code, message and reason."""
    script(cluster, name, labels, fate(exit_code, message, reason))


def forget(cluster: Cluster, name: str) -> None:
    """Ends a script; pods that exist keep their annotations."""
    cluster.kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", name, "--ignore-not-found")


def policy(name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> list[dict[str, Any]]:
    """The policy and its binding. A JSON object of strings is a CEL map of strings as it stands."""
    expression = f"Object{{metadata: Object.metadata{{annotations: {json.dumps(dict(annotations))}}}}}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return [
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": [rule], "objectSelector": {"matchLabels": dict(labels)}},
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
            },
        },
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]


def _tried(cluster: Cluster, labels: Mapping[str, str]) -> dict[str, str]:
    """Annotations a pod with these labels would get if it were created now."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tried", "namespace": "default", "labels": dict(labels)},
        "spec": {"containers": [{"name": "main", "image": "registry.invalid/none"}]},
    }
    text = cluster.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(pod))
    found: dict[str, str] = json.loads(text)["metadata"].get("annotations", {})
    return found
