"""The storage manifests, as a real API server sees them."""

from __future__ import annotations

import pytest
from hearth_cluster import storage
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError

pytestmark = pytest.mark.controlplane


def test_the_storage_manifests_install_and_install_again(control_plane: Cluster) -> None:
    storage.install(control_plane)
    before = control_plane.get("csidriver,storageclass,volumesnapshotclass,crd")
    storage.install(control_plane)
    after = control_plane.get("csidriver,storageclass,volumesnapshotclass,crd")
    versions = [
        {i["metadata"]["uid"]: i["metadata"]["resourceVersion"] for i in found["items"]} for found in (before, after)
    ]
    assert versions[0] == versions[1]
    names = {(item["kind"], item["metadata"]["name"]) for item in after["items"]}
    assert {
        ("CSIDriver", storage.DRIVER),
        ("StorageClass", "hearth-block"),
        ("VolumeSnapshotClass", "hearth-block"),
    } <= names


def test_a_snapshot_without_a_source_is_refused(control_plane: Cluster) -> None:
    storage.install(control_plane)
    snapshot = {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": "of-nothing", "namespace": "default"},
        "spec": {"source": {}},
    }
    with pytest.raises(ClusterError, match="exactly one of volumeSnapshotContentName"):
        control_plane.apply(snapshot)


def test_no_driver_is_registered_where_there_is_no_kubelet(control_plane: Cluster) -> None:
    assert not storage.registered(control_plane, "node-a")
