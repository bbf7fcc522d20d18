"""What GPUs the nodes have, and why none of them fits: said in the words of the people who run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hearth.api.base import Json
from hearth.api.shapes import Accelerator
from hearth.render.gpu import (
    COMPUTE_MAJOR,
    COMPUTE_MINOR,
    MEMORY,
    MIB,
    PRODUCT,
    RESOURCE,
    SHARING,
    memory_mib,
    resource_name,
)


@dataclass(frozen=True, slots=True, order=True)
class GpuNode:
    """The GPUs of one node. Memory in MiB and capability are None where GPU Feature Discovery did not label them."""

    product: str
    count: int
    memory_mib: int | None
    capability: tuple[int, int] | None
    time_sliced: bool
    schedulable: bool


def gpu_nodes(nodes: Sequence[Json], resource: str) -> list[GpuNode]:
    """The nodes that offer the resource, with what their labels say about it."""
    found = [_gpu_node(n, resource) for n in nodes]
    return [n for n in found if n.count > 0]


def _gpu_node(node: Json, resource: str) -> GpuNode:
    labels = node["metadata"].get("labels", {})
    memory, major, minor = (_integer(labels.get(key)) for key in (MEMORY, COMPUTE_MAJOR, COMPUTE_MINOR))
    return GpuNode(
        product=labels.get(PRODUCT, "unlabelled GPU"),
        count=_integer(node.get("status", {}).get("allocatable", {}).get(resource)) or 0,
        memory_mib=memory,
        capability=(major, minor or 0) if major is not None else None,
        time_sliced=labels.get(SHARING) == "time-slicing",
        schedulable=not node.get("spec", {}).get("unschedulable", False),
    )


def _integer(value: str | int | None) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def fits(accelerator: Accelerator, node: GpuNode) -> bool:
    """Whether an empty node of this kind could take one pod: the twin of `hearth.render.gpu.node_selector_terms`."""
    return not _shortcomings(accelerator, node)


def why_unschedulable(accelerator: Accelerator, nodes: Sequence[Json]) -> str | None:
    """Why no node could ever take a pod with this accelerator, naming what the nodes have; None where one could.

    Free GPUs are not counted here: a busy GPU becomes free without anybody's change.
    """
    if not accelerator.count:
        return None
    resource = resource_name(accelerator)
    present = gpu_nodes(nodes, resource)
    wanted = describe(accelerator)
    if not present:
        return (
            f"{wanted} wanted, but no node offers {resource}: add a GPU node (and its device plugin), "
            f"or set accelerator.count: 0 to run on CPU"
        )
    if any(fits(accelerator, n) for n in present):
        return None
    reasons = {reason for node in present for reason in _shortcomings(accelerator, node)}
    return f"{wanted} wanted; the nodes have {inventory(present)}: {'; '.join(sorted(reasons))}"


def describe(accelerator: Accelerator) -> str:
    """`2 x nvidia.com/gpu with at least 80G, compute capability 8.9`."""
    parts = [f"{accelerator.count} x {resource_name(accelerator)}"]
    limits = []
    if accelerator.min_memory is not None:
        limits.append(f"at least {accelerator.min_memory}")
    if accelerator.min_compute_capability is not None:
        limits.append(f"compute capability {accelerator.min_compute_capability} or newer")
    if accelerator.products:
        limits.append(f"product {' or '.join(accelerator.products)}")
    return " with ".join([*parts, ", ".join(limits)]) if limits else parts[0]


def inventory(present: Sequence[GpuNode]) -> str:
    """`4 nodes with 8 x NVIDIA-A100-SXM4-80GB (81920 MiB), 2 nodes with 4 x NVIDIA-L4 (23034 MiB)`."""
    lines = []
    for node, nodes in sorted(Counter(present).items(), key=lambda item: (-item[1], item[0].product)):
        memory = "" if node.memory_mib is None else f" ({node.memory_mib} MiB)"
        notes = "".join([", time-sliced" if node.time_sliced else "", ", cordoned" if not node.schedulable else ""])
        lines.append(f"{nodes} node{'s' if nodes > 1 else ''} with {node.count} x {node.product}{memory}{notes}")
    return ", ".join(lines)


def _shortcomings(accelerator: Accelerator, node: GpuNode) -> list[str]:
    found = []
    if node.count < (accelerator.count or 0):
        found.append(f"{node.product} nodes have {node.count} GPUs each")
    if not node.schedulable:
        found.append(f"a {node.product} node is cordoned")
    return found + (_label_shortcomings(accelerator, node) if resource_name(accelerator) == RESOURCE else [])


def _label_shortcomings(accelerator: Accelerator, node: GpuNode) -> list[str]:
    found = []
    if node.time_sliced:
        found.append(f"{node.product} is shared by time-slicing, which isolates no memory")
    if accelerator.products and node.product not in accelerator.products:
        found.append(f"{node.product} is not among the wanted products")
    mib = memory_mib(accelerator)
    if mib is not None and (node.memory_mib is None or node.memory_mib < mib):
        has = "no memory label" if node.memory_mib is None else f"{node.memory_mib * MIB / 1e9:.1f}G"
        found.append(f"{node.product} has {has}")
    if accelerator.min_compute_capability is not None:
        major, minor = (int(part) for part in accelerator.min_compute_capability.split("."))
        if node.capability is None or node.capability < (major, minor):
            has = (
                "no capability label"
                if node.capability is None
                else "compute capability {}.{}".format(*node.capability)
            )
            found.append(f"{node.product} has {has}")
    return found
