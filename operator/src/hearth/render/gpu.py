"""Asking the scheduler for GPUs: the extended resource, and node affinity on GPU Feature Discovery labels.

Sources: NVIDIA/k8s-device-plugin docs/gpu-feature-discovery/README.md and internal/lm (label names and formats).
"""

from __future__ import annotations

import math

from hearth.api.base import Json, quantity
from hearth.api.shapes import Accelerator

RESOURCE = "nvidia.com/gpu"
MEMORY = "nvidia.com/gpu.memory"
PRODUCT = "nvidia.com/gpu.product"
COMPUTE_MAJOR = "nvidia.com/gpu.compute.major"
COMPUTE_MINOR = "nvidia.com/gpu.compute.minor"
SHARING = "nvidia.com/gpu.sharing-strategy"

MIB = 2**20


def resource_name(accelerator: Accelerator) -> str:
    """The extended resource that one GPU is counted as."""
    return accelerator.resource_name or RESOURCE


def memory_mib(accelerator: Accelerator) -> int | None:
    """Least `nvidia.com/gpu.memory` (MiB) that satisfies `minMemory`.

    `24G` is 24e9 bytes, 22889 MiB: an L4, sold as 24 GB, reports 23034.
    """
    if accelerator.min_memory is None:
        return None
    return math.ceil(quantity(accelerator.min_memory) / MIB)


def node_selector_terms(accelerator: Accelerator) -> list[Json]:
    """Alternatives of which a node must meet one; empty where the accelerator restricts nothing.

    Labels are compared as integers by `Gt`, so "at least n" is written "greater than n - 1". A node that slices its
    GPUs by time gives no memory isolation and is left out; one without the label is not.
    """
    if resource_name(accelerator) != RESOURCE:
        return []
    common: list[Json] = [{"key": SHARING, "operator": "NotIn", "values": ["time-slicing"]}]
    if accelerator.products:
        common.append({"key": PRODUCT, "operator": "In", "values": list(accelerator.products)})
    mib = memory_mib(accelerator)
    if mib is not None:
        common.append({"key": MEMORY, "operator": "Gt", "values": [str(mib - 1)]})
    if accelerator.min_compute_capability is None:
        return [{"matchExpressions": common}]
    major, minor = (int(part) for part in accelerator.min_compute_capability.split("."))
    if minor == 0:
        return [{"matchExpressions": [*common, _greater(COMPUTE_MAJOR, major - 1)]}]
    same_major: Json = {"key": COMPUTE_MAJOR, "operator": "In", "values": [str(major)]}
    return [
        {"matchExpressions": [*common, _greater(COMPUTE_MAJOR, major)]},
        {"matchExpressions": [*common, same_major, _greater(COMPUTE_MINOR, minor - 1)]},
    ]


def _greater(label: str, than: int) -> Json:
    return {"key": label, "operator": "Gt", "values": [str(than)]}


def with_gpus(template: Json, accelerator: Accelerator | None, container: str) -> Json:
    """The pod template with `count` GPUs asked for in the named container; unchanged for count 0 or no accelerator."""
    if accelerator is None or not accelerator.count:
        return template
    spec = dict(beside_gpus(template, accelerator)["spec"])
    spec["containers"] = [
        _with_limit(c, resource_name(accelerator), accelerator.count) if c["name"] == container else c
        for c in spec["containers"]
    ]
    terms = node_selector_terms(accelerator)
    if terms:
        spec["affinity"] = require_node(spec.get("affinity", {}), terms)
    return {**template, "spec": spec}


def beside_gpus(template: Json, accelerator: Accelerator) -> Json:
    """The pod template, allowed on nodes that are kept for pods with GPUs."""
    spec = template["spec"]
    allowed: Json = {"key": resource_name(accelerator), "operator": "Exists", "effect": "NoSchedule"}
    return {**template, "spec": {**spec, "tolerations": [*spec.get("tolerations", []), allowed]}}


def _with_limit(container: Json, resource: str, count: int) -> Json:
    resources = container.get("resources", {})
    limits = {**resources.get("limits", {}), resource: str(count)}
    return {**container, "resources": {**resources, "limits": limits}}


def require_node(affinity: Json, terms: list[Json]) -> Json:
    """The affinity with the terms required as well: alternatives on both sides are multiplied out."""
    node = affinity.get("nodeAffinity", {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    given = node.get(required, {}).get("nodeSelectorTerms", [])
    combined = [_both(a, b) for a in given for b in terms] if given else terms
    return {**affinity, "nodeAffinity": {**node, required: {"nodeSelectorTerms": combined}}}


def _both(first: Json, second: Json) -> Json:
    fields = [*first.get("matchFields", []), *second.get("matchFields", [])]
    both: Json = {"matchExpressions": [*first.get("matchExpressions", []), *second.get("matchExpressions", [])]}
    return both | ({"matchFields": fields} if fields else {})
