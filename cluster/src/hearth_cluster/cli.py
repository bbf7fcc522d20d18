"""`hearth-cluster`: a real Kubernetes on this machine."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from hearth_cluster import binaries, gpus, lifecycle, native, preflight
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import read_groups
from hearth_cluster.images import images
from hearth_cluster.processes import past_proxies
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState
from hearth_cluster.status import table

commands = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

commands.command()(images)

Name = Annotated[str, typer.Option("--name", help="which cluster; several may be up side by side")]
Profile = Annotated[str, typer.Option(help="node, or control-plane: no node, but up in seconds and without root")]

Provider = Annotated[str, typer.Option(help="auto, kind or native: what makes the node")]


@commands.command()
def up(
    name: Name = "hearth",
    profile: Profile = native.PROFILE,
    provider: Provider = "auto",
) -> None:
    """Bring a cluster up, or back up: whatever of it does not run is started."""
    cluster = lifecycle.up(ClusterState(name), Progress(), profile=profile, provider=provider)
    Console(stderr=True).print(f"cluster {name} is up: export KUBECONFIG={cluster.kubeconfig}", soft_wrap=True)


@commands.command()
def down(name: Name = "hearth") -> None:
    """Remove a cluster with everything it started; images and binaries stay in the cache."""
    lifecycle.down(ClusterState(name), Progress())


@commands.command()
def status() -> None:
    """Show the clusters of this machine and their components."""
    Console().print(table())


@commands.command()
def env(name: Name = "hearth") -> None:
    """Print shell exports of KUBECONFIG, PATH and NO_PROXY: eval "$(hearth-cluster env)"."""
    state = _existing(name)
    folders = dict.fromkeys(str(path.parent) for path in binaries.tools(["kubectl", "helm"], Progress()).values())
    typer.echo(f"export KUBECONFIG={shlex.quote(str(state.kubeconfig))}")
    typer.echo(f"export PATH={shlex.quote(':'.join(folders))}:$PATH")
    # A proxy does not know the way to the API server, which is on this machine.
    direct = shlex.quote(past_proxies(os.environ, "127.0.0.1", "10.0.0.0/8"))
    typer.echo(f"export NO_PROXY={direct} no_proxy={direct}")


@commands.command("preflight")
def check_machine(
    profile: Profile = native.PROFILE,
    provider: Provider = "auto",
    fix: Annotated[
        bool, typer.Option("--fix", help="install packages with apt-get, load kernel modules (root)")
    ] = False,
) -> None:
    """Say what this machine lacks for a cluster: everything at once, with what mends it."""
    chosen = lifecycle.available_provider(provider)
    found = preflight.problems(profile, chosen)
    if fix and found:
        with Progress().step("installing packages"):
            preflight.fix(found)
        found = preflight.problems(profile, chosen)
    if found:
        raise ClusterError(preflight.explain(found))
    typer.echo("this machine is ready for a cluster")


@commands.command("gpus")
def advertise_gpus(
    count: Annotated[int, typer.Argument(min=0, max=1000, help="how many; 0 takes them away")],
    name: Name = "hearth",
    product: Annotated[str | None, typer.Option(help="label the node as GPU Feature Discovery would")] = None,
) -> None:
    """Let the real node offer GPUs that it doesn't have, so that scarcity is tried with real pods."""
    node = gpus.advertise(Cluster(_existing(name)), count, product)
    typer.echo(f"node {node} offers {count} {gpus.RESOURCE}")


@commands.command("fake-nodes")
def fake_nodes(
    file: Annotated[Path, typer.Argument(help="YAML with `nodes:`, a list of groups of equal nodes")],
    name: Name = "hearth",
    jobs_succeed: Annotated[bool, typer.Option(help="let pods of Jobs succeed at once")] = False,
) -> None:
    """Add nodes, with GPUs if you like, that only exist in the API; kwok plays their kubelet."""
    names = Cluster(_existing(name)).fake_nodes(read_groups(file), jobs_succeed=jobs_succeed)
    typer.echo("\n".join(names))


def _existing(name: str) -> ClusterState:
    state = ClusterState(name)
    if not state.kubeconfig.exists():
        raise ClusterError(f"cluster {name!r} is not up; bring it up: hearth-cluster up --name {name}")
    return state


def app() -> None:
    """Runs the command line; an error a person can mend is printed without a traceback."""
    try:
        commands()
    except ClusterError as error:
        Console(stderr=True).print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        raise SystemExit(1) from None
