"""What tests see over a kept connection is what kubectl shows."""

from __future__ import annotations

import pytest
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError

FORMS = [
    ("configmap", "a"),
    ("cm", "a"),
    ("configmaps",),
    ("configmaps,services", "-l", "of=us"),
    ("events.events.k8s.io",),
    ("Deployment",),
    ("configmap", "a", "b"),
    ("configmap/a",),
    ("cm", "-l", "of in (us)"),
]


@pytest.fixture(scope="module")
def filled(control_plane: Cluster) -> str:
    """A namespace with two ConfigMaps."""
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "looked-at"}})
    for name in ("a", "b"):
        placed = {"name": name, "namespace": "looked-at", "labels": {"of": "us"}}
        control_plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": placed, "data": {"key": name}})
    return "looked-at"


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_the_same_is_seen(control_plane: Cluster, filled: str, form: tuple[str, ...]) -> None:
    arguments = ("-n", filled, *form)
    assert control_plane.get(*arguments) == Cluster(control_plane.state).get(*arguments)


def test_what_is_refused_is_told_as_kubectl_does(control_plane: Cluster, filled: str) -> None:
    with pytest.raises(ClusterError, match=r'configmaps "none" not found'):
        control_plane.get("-n", filled, "configmap", "none")
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": filled}, "daat": {}}
    with pytest.raises(ClusterError, match=r"daat"):
        control_plane.apply(wrong)
