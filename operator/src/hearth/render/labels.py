"""Labels by which the operator, Services and people find what belongs to a Hearth resource."""

from __future__ import annotations

from hearth.api.base import GROUP, Json
from hearth.render.names import fit

MANAGED_BY = "app.kubernetes.io/managed-by"
KIND = f"{GROUP}/kind"
NAME = f"{GROUP}/name"
COMPONENT = f"{GROUP}/component"


def owner_labels(owner: Json) -> dict[str, str]:
    """Labels of every object that belongs to `owner`. A name too long for a label value is cut and given a hash."""
    return {
        MANAGED_BY: "hearth",
        KIND: owner["kind"],
        NAME: fit(owner["metadata"]["name"]),
    }


def pod_labels(owner: Json, component: str) -> dict[str, str]:
    """Labels of a pod of `owner`. Component: train, prepare, inspect, index, engine, gateway or milvus."""
    return owner_labels(owner) | {COMPONENT: component}


def selector(owner: Json, component: str) -> dict[str, str]:
    """What Services, Deployments and disruption budgets select pods by: the stable part of `pod_labels`."""
    return {KIND: owner["kind"], NAME: fit(owner["metadata"]["name"]), COMPONENT: component}
