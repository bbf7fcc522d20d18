"""The `control-plane` profile: a Kubernetes API with controllers and scheduler on loopback, without any node.

It needs no root, no container runtime and no network namespace, and is up within seconds: what tests of the API,
the controllers and the scheduler need. Fake nodes give it somewhere to schedule to.
"""

from __future__ import annotations

import os

from hearth_cluster import binaries, controlplane, pki
from hearth_cluster.addresses import ControlPlaneAddresses
from hearth_cluster.cluster import Cluster
from hearth_cluster.controlplane import ControlPlane, wait_for
from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import source_dir
from hearth_cluster.ports import free_ports
from hearth_cluster.processes import ProcessIdentity, Supervisor, run_checked
from hearth_cluster.progress import Progress
from hearth_cluster.rbac import ADMINISTRATOR_BINDINGS
from hearth_cluster.state import ClusterState, all_clusters
from hearth_cluster.tools import CONTROL_PLANE_TOOLS, module_of

PROFILE = "control-plane"


def up(state: ClusterState, progress: Progress, *, owned: bool = False) -> Cluster:
    """Brings the control plane up, or back up: whatever of it does not run is started.

    `owned` ties it to the calling process: once that process is gone, `reap` removes the cluster.
    """
    found = state.settings().get("profile", PROFILE)
    if found != PROFILE:
        raise ClusterError(
            f"cluster {state.name!r} is up with the profile {found!r}; take it down first, or use --name"
        )
    programs = binaries.tools(CONTROL_PLANE_TOOLS, progress)
    addresses = state.addresses() or _choose_addresses()
    owner = ProcessIdentity.of(os.getpid()) if owned else None
    state.save_settings(
        {
            **state.settings(),
            "profile": PROFILE,
            "addresses": vars(addresses),
            "owner": None if owner is None else vars(owner),
        }
    )
    version = module_of("kubeadm").version(source_dir() / "tools")
    configuration = pki.kubeadm_configuration(state.name, version, addresses, state.folder / "pki")
    plane = ControlPlane(programs, state.folder, addresses)
    with progress.step("starting the control plane"):
        pki.ensure_pki(programs["kubeadm"], configuration, state.folder, addresses.host)
        supervisor = Supervisor(state.folder)
        controlplane.start(plane, supervisor)
        _finish(plane, supervisor)
    return _publish(state)


def _choose_addresses() -> ControlPlaneAddresses:
    api, client, peer, manager, scheduler = free_ports(5)
    return ControlPlaneAddresses("127.0.0.1", api, client, peer, manager, scheduler)


def _finish(plane: ControlPlane, supervisor: Supervisor) -> None:
    kubectl = plane.binaries["kubectl"]
    root = ["--kubeconfig", str(plane.folder / "super-admin.conf")]
    run_checked([kubectl, *root, "apply", "--server-side", "-f", "-"], stdin=ADMINISTRATOR_BINDINGS)

    def default_account() -> bool:
        names = run_checked([kubectl, *root, "get", "serviceaccounts", "-n", "default", "-o", "name"])
        return "serviceaccount/default" in names

    # Pods are refused until the controller manager has made the account they run under.
    wait_for(default_account, "the default service account", supervisor, ("kube-apiserver", "kube-controller-manager"))


def _publish(state: ClusterState) -> Cluster:
    text = (state.folder / "admin.conf").read_text()
    if not state.kubeconfig.exists() or state.kubeconfig.read_text() != text:
        state.kubeconfig.touch(mode=0o600)
        state.kubeconfig.write_text(text)
    return Cluster(state)


def down(state: ClusterState) -> None:
    """Ends every process of the cluster and deletes its files."""
    supervisor = Supervisor(state.folder)
    # Killed, not asked: what a graceful stop would save is deleted in the next line.
    supervisor.stop(supervisor.names(), seconds=0)
    state.remove()


def reap() -> list[str]:
    """Removes control planes whose owner is gone, such as a test run that was killed. Returns their names."""
    gone = []
    for state in all_clusters():
        owner = state.owner()
        if owner is not None and not owner.alive() and state.settings().get("profile") == PROFILE:
            down(state)
            gone.append(state.name)
    return gone
