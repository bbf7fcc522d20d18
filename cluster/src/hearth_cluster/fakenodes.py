"""Nodes that only exist in the API: real scheduling onto GPUs that no machine here has.

A file names groups of equal nodes:

    nodes:
    - {count: 4, gpus: 8, product: NVIDIA-A100-SXM4-80GB}
    - {count: 2, gpus: 4, product: NVIDIA-L4}
    - {count: 1, cpu: "64", memory: 256Gi}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from hearth_cluster.errors import ClusterError

FAKE = "kwok.x-k8s.io/node"
"""kwok plays the kubelet of nodes that carry this annotation with the value `fake`."""


def fate(exit_code: int, message: str = "", reason: str = "") -> dict[str, str]:
    """Annotations that let a pod on a fake node end with this exit code, termination message and reason."""
    values = {"exit-code": str(exit_code), "termination-message": message, "termination-reason": reason}
    return {f"kwok.hearth.dev/{key}": value for key, value in values.items() if value}


def has_fate(pod: dict[str, Any]) -> bool:
    """Whether the pod has been told how to end. It runs on for a moment."""
    return "kwok.hearth.dev/exit-code" in (pod["metadata"].get("annotations") or {})


@dataclass(frozen=True)
class GpuModel:
    """What GPU Feature Discovery says of one card (NVIDIA/k8s-device-plugin, internal/lm)."""

    memory_mib: int
    family: str
    compute_capability: tuple[int, int]


# Memory is what NVML reports as total, in MiB: less than the name on the box where ECC takes its share.
GPU_MODELS: Mapping[str, GpuModel] = {
    "Tesla-T4": GpuModel(15360, "turing", (7, 5)),
    "NVIDIA-A10G": GpuModel(23028, "ampere", (8, 6)),
    "NVIDIA-L4": GpuModel(23034, "ada-lovelace", (8, 9)),
    "NVIDIA-L40S": GpuModel(46068, "ada-lovelace", (8, 9)),
    "NVIDIA-A100-SXM4-40GB": GpuModel(40960, "ampere", (8, 0)),
    "NVIDIA-A100-SXM4-80GB": GpuModel(81920, "ampere", (8, 0)),
    "NVIDIA-H100-80GB-HBM3": GpuModel(81559, "hopper", (9, 0)),
    "NVIDIA-H200": GpuModel(143771, "hopper", (9, 0)),
    "NVIDIA-B200": GpuModel(183359, "blackwell", (10, 0)),
}


@dataclass(frozen=True)
class NodeGroup:
    """Some equal fake nodes. `memory` and `ephemeral_storage` are Kubernetes quantities."""

    count: int = 1
    gpus: int = 0
    product: str | None = None
    cpu: str = "64"
    memory: str = "512Gi"
    ephemeral_storage: str = "1Ti"
    name: str | None = None
    """Prefix of the nodes' names; by default made from the product."""
    isolated: bool = False
    """Taints the nodes `kwok.x-k8s.io/node=fake:NoSchedule`, so that only pods that tolerate it come: right beside a
    real node."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.gpus < 0:
            raise ClusterError(f"a node group has count {self.count} and gpus {self.gpus}; at least 1 and 0 are needed")
        if (self.gpus > 0) != (self.product is not None):
            raise ClusterError("a node group names both `gpus` and `product`, or neither")
        if self.product is not None and self.product not in GPU_MODELS:
            raise ClusterError(f"product {self.product!r} is unknown; known: {', '.join(GPU_MODELS)}")

    @property
    def prefix(self) -> str:
        return self.name or (self.product or "cpu").lower().replace("nvidia-", "fake-")


_TYPES: Mapping[object, tuple[str, frozenset[type]]] = {
    int: ("a whole number", frozenset({int})),
    bool: ("true or false", frozenset({bool})),
    str: ("text or a number", frozenset({str, int, float})),
    str | None: ("text", frozenset({str, int, float, type(None)})),
}
"""By the type of a field: what it is called, and as what YAML may give it. A quantity may be a number."""


def parse_groups(text: str) -> list[NodeGroup]:
    """Reads the YAML form.

    Raises:
        ClusterError: it isn't YAML with a list of node groups under `nodes`, or a group has a key that none knows or a
            value that the key cannot have.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ClusterError(f"the node groups are not YAML: {error}") from error
    groups = document.get("nodes") if isinstance(document, dict) else None
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ClusterError("expected `nodes:` with a list of groups such as {count: 2, gpus: 4, product: NVIDIA-L4}")
    return [_group(group) for group in groups]


def _group(written: Mapping[Any, Any]) -> NodeGroup:
    types = get_type_hints(NodeGroup)
    if unknown := written.keys() - types.keys():
        raise ClusterError(f"unknown key {min(map(str, unknown))!r} in a node group; known: {', '.join(sorted(types))}")
    return NodeGroup(**{key: _value(key, value, types[key]) for key, value in written.items()})


def _value(key: str, value: object, wanted: object) -> Any:
    called, accepted = _TYPES[wanted]
    if type(value) not in accepted:
        raise ClusterError(f"a node group has {key} {value!r}; expected {called}")
    return str(value) if isinstance(value, int | float) and str in accepted else value


def read_groups(path: Path) -> list[NodeGroup]:
    """Reads a file of node groups.

    Raises:
        ClusterError: it cannot be read, or isn't what `parse_groups` takes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path} is not text in UTF-8") from error
    return parse_groups(text)


def gpu_labels(product: str, count: int) -> dict[str, str]:
    """The labels GPU Feature Discovery and the GPU operator put on a node with `count` whole cards."""
    model = GPU_MODELS[product]
    major, minor = model.compute_capability
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.memory": str(model.memory_mib),
        "nvidia.com/gpu.count": str(count),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.family": model.family,
        "nvidia.com/gpu.compute.major": str(major),
        "nvidia.com/gpu.compute.minor": str(minor),
        "nvidia.com/gpu.sharing-strategy": "none",
        "nvidia.com/gpu.mode": "compute",
        "nvidia.com/mig.capable": str(major >= 8 and model.memory_mib >= 40960 and product != "NVIDIA-L40S").lower(),
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/mps.capable": "false",
        "nvidia.com/vgpu.present": "false",
        "nvidia.com/cuda.driver-version.major": "580",
        "nvidia.com/cuda.driver-version.minor": "95",
        "nvidia.com/cuda.driver-version.full": "580.95.05",
        "nvidia.com/cuda.runtime-version.major": "13",
        "nvidia.com/cuda.runtime-version.minor": "0",
        "nvidia.com/cuda.runtime-version.full": "13.0",
    }


def node_objects(groups: Iterable[NodeGroup]) -> list[dict[str, Any]]:
    """The Node objects of all groups, named `<prefix>-<n>`, counted through groups with the same prefix."""
    counts: dict[str, int] = {}
    nodes = []
    for group in groups:
        for _ in range(group.count):
            index = counts.get(group.prefix, 0)
            counts[group.prefix] = index + 1
            nodes.append(_node(group, f"{group.prefix}-{index}"))
    return nodes


def _node(group: NodeGroup, name: str) -> dict[str, Any]:
    capacity = {
        "cpu": group.cpu,
        "memory": group.memory,
        "ephemeral-storage": group.ephemeral_storage,
        "pods": "1000",
    }
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "hearth.dev/fake": "true",
    }
    taints = []
    if group.product is not None:
        capacity["nvidia.com/gpu"] = str(group.gpus)
        labels.update(gpu_labels(group.product, group.gpus))
        taints.append({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"})
    if group.isolated:
        taints.append({"key": FAKE, "value": "fake", "effect": "NoSchedule"})
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {FAKE: "fake"}},
        "spec": {"taints": taints} if taints else {},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
