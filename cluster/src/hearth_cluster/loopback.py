"""The `control-plane` profile: a Kubernetes API with controllers and scheduler on loopback, without any node.

It needs no root, no container runtime and no network namespace, and is up within seconds: what tests of the API,
the controllers and the scheduler need. Fake nodes give it somewhere to schedule to.
"""

from __future__ import annotations

from hearth_cluster import binaries, bootstrap
from hearth_cluster.addresses import ControlPlaneAddresses
from hearth_cluster.cluster import Cluster
from hearth_cluster.controlplane import ControlPlane
from hearth_cluster.ports import free_ports
from hearth_cluster.processes import Supervisor
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState
from hearth_cluster.tools import CONTROL_PLANE_TOOLS

PROFILE = "control-plane"


def up(state: ClusterState, progress: Progress, *, owned: bool = False) -> Cluster:
    """Brings the control plane up, or back up: whatever of it does not run is started.

    `owned` ties it to the calling process: once that process is gone, `lifecycle.reap` removes the cluster.
    """
    state.require_profile(PROFILE)
    programs = binaries.tools(CONTROL_PLANE_TOOLS, progress)
    addresses = state.addresses() or _choose_addresses()
    state.own(owned=owned)
    state.update(profile=PROFILE, addresses=vars(addresses))
    plane = ControlPlane(programs, state.folder, addresses)
    with progress.step("starting the control plane"):
        bootstrap.write_pki(state, plane)
        return bootstrap.start(state, plane)


def _choose_addresses() -> ControlPlaneAddresses:
    api, client, peer, manager, scheduler = free_ports(5)
    return ControlPlaneAddresses("127.0.0.1", api, client, peer, manager, scheduler)


def down(state: ClusterState) -> None:
    """Ends every process of the cluster and deletes its files."""
    supervisor = Supervisor(state.folder)
    # Killed, not asked: what a graceful stop would save is deleted in the next line.
    supervisor.stop(supervisor.names(), seconds=0)
    state.remove()
