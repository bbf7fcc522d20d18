"""Why no node takes a pod, in terms of what the nodes have."""

from typing import Any

import pytest
from hearth.api.shapes import Accelerator
from hearth.plan.gpus import why_unschedulable


def node(product: str, count: int, mib: int, capability: str, **extra: str) -> dict[str, Any]:
    major, minor = capability.split(".")
    return {
        "metadata": {
            "labels": {
                "nvidia.com/gpu.product": product,
                "nvidia.com/gpu.memory": str(mib),
                "nvidia.com/gpu.compute.major": major,
                "nvidia.com/gpu.compute.minor": minor,
                **extra,
            }
        },
        "status": {"allocatable": {"nvidia.com/gpu": str(count)}},
    }


CPU_ONLY: dict[str, Any] = {"metadata": {}, "status": {"allocatable": {"cpu": "2"}}}
FLEET = [
    *[node("NVIDIA-A100-SXM4-80GB", 8, 81920, "8.0")] * 4,
    *[node("NVIDIA-L4", 4, 23034, "8.9")] * 2,
    CPU_ONLY,
]


@pytest.mark.parametrize(
    "accelerator",
    [
        Accelerator(),
        Accelerator(count=0),
        Accelerator(count=8),
        Accelerator(count=4, min_memory="24G"),
        Accelerator(count=8, min_memory="80G"),
        Accelerator(count=4, min_compute_capability="8.9"),
        Accelerator(count=1, products=["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3"]),
    ],
)
def test_nothing_is_said_where_a_node_could_take_the_pod(accelerator: Accelerator) -> None:
    assert why_unschedulable(accelerator, FLEET) is None


@pytest.mark.parametrize(
    ("accelerator", "said"),
    [
        (Accelerator(count=16), "NVIDIA-A100-SXM4-80GB nodes have 8 GPUs each"),
        (Accelerator(count=1, min_memory="141G"), "NVIDIA-A100-SXM4-80GB has 85.9G"),
        (Accelerator(count=1, min_compute_capability="10.0"), "NVIDIA-L4 has compute capability 8.9"),
        (Accelerator(count=8, min_compute_capability="8.9"), "NVIDIA-L4 nodes have 4 GPUs each"),
        (Accelerator(count=1, products=["NVIDIA-B200"]), "NVIDIA-L4 is not among the wanted products"),
    ],
)
def test_the_message_names_what_the_nodes_have(accelerator: Accelerator, said: str) -> None:
    message = why_unschedulable(accelerator, FLEET)
    assert message is not None
    assert said in message
    assert "4 nodes with 8 x NVIDIA-A100-SXM4-80GB (81920 MiB), 2 nodes with 4 x NVIDIA-L4 (23034 MiB)" in message


def test_a_cluster_without_gpus_is_told_how_to_run_on_cpu() -> None:
    message = why_unschedulable(Accelerator(count=1), [CPU_ONLY])
    assert message == (
        "1 x nvidia.com/gpu wanted, but no node offers nvidia.com/gpu: add a GPU node (and its device plugin), "
        "or set accelerator.count: 0 to run on CPU"
    )


def test_capabilities_compare_as_numbers() -> None:
    blackwell = [node("NVIDIA-B200", 8, 183359, "10.0")]
    assert why_unschedulable(Accelerator(count=1, min_compute_capability="8.9"), blackwell) is None


def test_gpus_shared_by_time_are_not_offered() -> None:
    shared = [node("Tesla-T4-SHARED", 4, 15360, "7.5", **{"nvidia.com/gpu.sharing-strategy": "time-slicing"})]
    assert "time-slicing" in (why_unschedulable(Accelerator(count=1), shared) or "")
