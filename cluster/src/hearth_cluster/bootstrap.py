"""What both profiles do around a control plane: certificates before it, first objects and the kubeconfig after it."""

from __future__ import annotations

from collections.abc import Callable

from hearth_cluster import controlplane, pki
from hearth_cluster.cluster import Cluster
from hearth_cluster.controlplane import ControlPlane, wait_for
from hearth_cluster.kubectl import kubectl
from hearth_cluster.paths import source_dir
from hearth_cluster.processes import Supervisor
from hearth_cluster.rbac import ADMINISTRATOR_BINDINGS
from hearth_cluster.state import ClusterState
from hearth_cluster.tools import module_of


def kubernetes_version() -> str:
    """The pinned version, such as v1.36.3."""
    return module_of("kubeadm").version(source_dir() / "tools")


def write_pki(state: ClusterState, plane: ControlPlane) -> None:
    """Certificates and kubeconfigs of the cluster, if it doesn't have them yet."""
    at = plane.addresses
    configuration = pki.kubeadm_configuration(state.name, kubernetes_version(), at, state.folder / "pki")
    pki.ensure_pki(plane.binaries["kubeadm"], configuration, state.folder, at.host)


def start(state: ClusterState, plane: ControlPlane, alongside: Callable[[], None] = lambda: None) -> Cluster:
    """Starts the control plane and returns once pods can be created. `alongside` runs while the API server starts."""
    supervisor = Supervisor(state.folder)
    controlplane.start_storage_and_api(plane, supervisor)
    alongside()
    controlplane.start_controllers(plane, supervisor)
    _bind_administrators(plane)
    _await_default_account(plane, supervisor)
    return _publish(state)


def _bind_administrators(plane: ControlPlane) -> None:
    root = plane.folder / "super-admin.conf"
    kubectl(root, "apply", "--server-side", "-f", "-", stdin=ADMINISTRATOR_BINDINGS)


def _await_default_account(plane: ControlPlane, supervisor: Supervisor) -> None:
    """Pods are refused until the controller manager has made the account they run under."""
    root = plane.folder / "super-admin.conf"
    wait_for(
        lambda: "serviceaccount/default" in kubectl(root, "get", "serviceaccounts", "-n", "default", "-o", "name"),
        "the default service account",
        supervisor,
        ("kube-apiserver", "kube-controller-manager"),
    )


def _publish(state: ClusterState) -> Cluster:
    text = (state.folder / "admin.conf").read_text()
    if not state.kubeconfig.exists() or state.kubeconfig.read_text() != text:
        state.kubeconfig.touch(mode=0o600)
        state.kubeconfig.write_text(text)
    return Cluster(state)
