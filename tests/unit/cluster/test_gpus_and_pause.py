"""GPUs the real node only claims to have, and the image of a pod's first process."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
from hearth_cluster import gpus
from hearth_cluster.errors import ClusterError
from hearth_cluster.pause import oci_archive


def test_gpus_are_offered_and_allocatable_at_once() -> None:
    assert gpus.capacity_patch(2, present=False) == [
        {"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"},
        {"op": "add", "path": "/status/allocatable/nvidia.com~1gpu", "value": "2"},
    ]


def test_no_gpus_means_the_resource_goes_away() -> None:
    assert [step["op"] for step in gpus.capacity_patch(0, present=True)] == ["remove", "remove"]
    assert gpus.capacity_patch(0, present=False) == []


def test_labels_of_an_earlier_product_are_taken_away() -> None:
    labels = gpus.label_patch(0, "NVIDIA-L4", {"nvidia.com/gpu.product": "NVIDIA-L4", "kubernetes.io/os": "linux"})
    assert labels == {"nvidia.com/gpu.product": None}


def test_fake_nodes_are_not_the_real_one() -> None:
    fake = {"metadata": {"name": "f", "annotations": {"kwok.x-k8s.io/node": "fake"}}}
    real = {"metadata": {"name": "r"}}
    assert gpus.real_node([fake, real]) == real
    with pytest.raises(ClusterError, match="no real node"):
        gpus.real_node([fake])


def test_the_pause_image_is_a_whole_oci_layout() -> None:
    with tarfile.open(fileobj=io.BytesIO(oci_archive(b"program", "localhost/x:1"))) as tar:
        files = {name: extracted.read() for name in tar.getnames() if (extracted := tar.extractfile(name))}
    entry = json.loads(files["index.json"])["manifests"][0]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    manifest = json.loads(files[f"blobs/sha256/{entry['digest'][7:]}"])
    layer = files[f"blobs/sha256/{manifest['layers'][0]['digest'][7:]}"]
    assert hashlib.sha256(layer).hexdigest() == manifest["layers"][0]["digest"][7:]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        assert tar.getnames() == ["pause"]
