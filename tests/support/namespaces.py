"""Namespaces on a real node, one for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hearth_cluster.cluster import Cluster


@contextmanager
def own_namespace(cluster: Cluster, name: str, **labels: str) -> Iterator[None]:
    """A new namespace, ready for pods; at the end its deletion has begun.

    That end is not waited for: pods that drain take minutes, and the cluster itself goes with the run. On a cluster
    that stays, the next run waits here for what the last one left.
    """
    cluster.kubectl("wait", "--for=delete", f"namespace/{name}", "--timeout=600s")
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    cluster.kubectl("wait", "--for=create", "--timeout=30s", "-n", name, "serviceaccount/default")
    yield
    cluster.kubectl("delete", "namespace", name, "--wait=false")
