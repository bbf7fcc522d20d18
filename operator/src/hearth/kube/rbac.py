"""Every right that the operator uses, and no other: the chart's roles are generated from this table.

A control-plane test runs the operator under exactly these rights and compares them with the requests that it made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hearth.api.base import GROUP, Json
from hearth.kube.resources import (
    APPLIED,
    CLAIM,
    ENDPOINT_SLICE,
    EVENT,
    LEASE,
    NODE,
    POD,
    REPLICA_SET,
    SECRET,
    STORAGE_CLASS,
    TOKEN_REVIEW,
    Resource,
)

Scope = Literal["watched", "own", "cluster"]
"""`watched`: in the namespaces that are served. `own`: in the operator's namespace. `cluster`: kinds without one."""

LEASE_NAME = "hearth-operator"
PROGRESS_SECRET = "hearth-progress-tls"  # noqa: S105 - the name of a Secret, not one

CUSTOM_PLURALS = ("finetunejobs", "vectorindexes", "llmservices")


@dataclass(frozen=True, slots=True)
class Right:
    """Verbs on one resource, on all objects or on named ones only."""

    scope: Scope
    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    names: tuple[str, ...] = ()


def _right(scope: Scope, resource: Resource, verbs: str, why: str, names: tuple[str, ...] = ()) -> Right:
    return Right(scope, resource.group, resource.plural, tuple(verbs.split()), why, names)


RIGHTS: tuple[Right, ...] = (
    *(Right("watched", GROUP, p, ("list", "watch"), "the resources to reconcile") for p in CUSTOM_PLURALS),
    *(Right("watched", GROUP, f"{p}/status", ("patch",), "their status") for p in CUSTOM_PLURALS),
    # Apply is a patch that may create. Label selectors cannot be enforced by RBAC, so the verbs hold for all objects.
    *(_right("watched", r, "get list watch create patch delete", "children") for r in APPLIED if r is not CLAIM),
    _right("watched", CLAIM, "get list watch create patch", "volumes; they go with their owner or stay, by ownership"),
    _right("watched", REPLICA_SET, "list watch", "the link between a Deployment and its pods"),
    _right("watched", POD, "list watch", "results and troubles of children; never written"),
    _right("watched", SECRET, "get", "whether a Secret that a spec names exists; never listed"),
    _right("watched", EVENT, "create patch", "events about the resources"),
    _right("cluster", NODE, "list watch", "what GPUs there are"),
    _right("cluster", STORAGE_CLASS, "list watch", "whether there is one, what it gives, and whether it can grow"),
    _right("cluster", TOKEN_REVIEW, "create", "who sends progress"),
    _right("own", LEASE, "create", "leader election"),
    _right("own", LEASE, "get update", "leader election", (LEASE_NAME,)),
    _right("own", SECRET, "get create patch", "certificate of the progress endpoint", (PROGRESS_SECRET,)),
    _right("own", ENDPOINT_SLICE, "create patch", "the leader's address behind the progress Service"),
)


def rules(scope: Scope) -> list[Json]:
    """The `rules` of a Role or ClusterRole: rights with equal verbs are put together, in the table's order."""
    merged: dict[tuple[tuple[str, ...], str, tuple[str, ...]], list[str]] = {}
    for right in RIGHTS:
        if right.scope == scope:
            merged.setdefault((right.verbs, right.group, right.names), []).append(right.resource)
    return [_rule(group, resources, verbs, names) for (verbs, group, names), resources in merged.items()]


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str], names: Sequence[str]) -> Json:
    rule: Json = {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
    if names:
        rule["resourceNames"] = list(names)
    return rule
