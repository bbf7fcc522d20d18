"""Fake nodes: from a small YAML to Node objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import node_objects, parse_groups, read_groups

FLEET = """
nodes:
- {count: 4, gpus: 8, product: NVIDIA-A100-SXM4-80GB}
- {count: 2, gpus: 4, product: NVIDIA-L4}
- {count: 1, cpu: "16", memory: 64Gi}
"""


def test_a_fleet_has_as_many_nodes_as_its_groups_count() -> None:
    names = [node["metadata"]["name"] for node in node_objects(parse_groups(FLEET))]
    assert len(names) == len(set(names)) == 7


def test_a_gpu_node_offers_its_gpus_with_the_labels_of_gpu_feature_discovery() -> None:
    node = node_objects(parse_groups(FLEET))[0]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "8"
    labels = node["metadata"]["labels"]
    assert labels["nvidia.com/gpu.memory"] == "81920"
    assert labels["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"
    assert (labels["nvidia.com/gpu.compute.major"], labels["nvidia.com/gpu.compute.minor"]) == ("8", "0")


def test_a_gpu_node_keeps_pods_away_that_ask_for_no_gpu() -> None:
    node = node_objects(parse_groups(FLEET))[0]
    assert node["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


def test_a_plain_node_takes_any_pod() -> None:
    node = node_objects(parse_groups(FLEET))[-1]
    assert node["spec"] == {}
    assert "nvidia.com/gpu" not in node["status"]["capacity"]


def test_an_isolated_node_takes_only_pods_that_tolerate_fake_nodes() -> None:
    node = node_objects(parse_groups("nodes: [{isolated: true}]"))[0]
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["kwok.x-k8s.io/node"]


def test_groups_with_the_same_prefix_are_numbered_through() -> None:
    nodes = node_objects(parse_groups("nodes: [{name: a, count: 2}, {name: a, cpu: '1'}]"))
    assert [node["metadata"]["name"] for node in nodes] == ["a-0", "a-1", "a-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes: 3", "expected `nodes:` with a list"),
        ("- {count: 1}", "expected `nodes:` with a list"),
        ("nodes: [{gpu: 8}]", "unknown key 'gpu'"),
        ("nodes: [{gpus: 8}]", "both `gpus` and `product`"),
        ("nodes: [{product: NVIDIA-L4}]", "both `gpus` and `product`"),
        ("nodes: [{gpus: 1, product: NVIDIA-L5}]", "'NVIDIA-L5' is unknown; known: Tesla-T4"),
        ("nodes: [{count: 0}]", "count 0"),
        ("nodes: [", "not YAML"),
        ("nodes: [{count: two}]", "count 'two'; expected a whole number"),
        ("nodes: [{count: '2'}]", "count '2'; expected a whole number"),
        ("nodes: [{count: true}]", "count True; expected a whole number"),
        ("nodes: [{isolated: 1}]", "isolated 1; expected true or false"),
        ("nodes: [{cpu: }]", "cpu None; expected text"),
        ("nodes: [{name: [a]}]", "name ['a']; expected text"),
        ("nodes: [{1: 2, gpu: 3}]", "unknown key '1'"),
    ],
)
def test_a_wrong_file_is_answered_with_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message.replace("[", r"\[")):
        parse_groups(text)


def test_a_quantity_may_be_written_as_a_number() -> None:
    node = node_objects(parse_groups("nodes: [{cpu: 16, memory: 1000000000}]"))[0]
    assert (node["status"]["capacity"]["cpu"], node["status"]["capacity"]["memory"]) == ("16", "1000000000")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"nope\.yaml cannot be read: No such file"):
        read_groups(tmp_path / "nope.yaml")
    (tmp_path / "image.yaml").write_bytes(b"\xff\xd8")
    with pytest.raises(ClusterError, match=r"image\.yaml is not text in UTF-8"):
        read_groups(tmp_path / "image.yaml")
