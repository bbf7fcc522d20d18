"""`hearth-cluster`: a real Kubernetes on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hearth_cluster import binaries, loopback
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import read_groups
from hearth_cluster.images import images
from hearth_cluster.processes import Supervisor
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState, all_clusters

commands = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)

commands.command()(images)

Name = Annotated[str, typer.Option("--name", help="which cluster; several may be up side by side")]


@commands.command()
def up(name: Name = "hearth", profile: str = loopback.PROFILE) -> None:
    """Bring a cluster up, or back up: whatever of it does not run is started."""
    if profile != loopback.PROFILE:
        raise ClusterError(f"profile {profile!r} is unknown; known: {loopback.PROFILE}")
    cluster = loopback.up(ClusterState(name), Progress())
    Console(stderr=True).print(f"cluster {name} is up: export KUBECONFIG={cluster.kubeconfig}", soft_wrap=True)


@commands.command()
def down(name: Name = "hearth") -> None:
    """Remove a cluster with everything it started."""
    state = ClusterState(name)
    if state.exists():
        loopback.down(state)


@commands.command()
def status() -> None:
    """Show the clusters of this machine and their components."""
    table = Table("cluster", "profile", "component", "state", "log", box=None)
    for state in all_clusters():
        supervisor = Supervisor(state.folder)
        profile = str(state.settings().get("profile", "?"))
        for component in supervisor.names():
            running = "running" if supervisor.running(component) else "[red]ended[/red]"
            table.add_row(state.name, profile, component, running, str(supervisor.log(component)))
    Console().print(table if table.row_count else "no cluster is up")


@commands.command()
def env(name: Name = "hearth") -> None:
    """Print shell exports: eval "$(hearth-cluster env)"."""
    state = _existing(name)
    folders = dict.fromkeys(str(binaries.tool(program).parent) for program in ("kubectl",))
    typer.echo(f"export KUBECONFIG={shlex.quote(str(state.kubeconfig))}")
    typer.echo(f"export PATH={shlex.quote(':'.join(folders))}:$PATH")


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
        Console(stderr=True).print(f"[bold red]error:[/bold red] {_escape(str(error))}", soft_wrap=True)
        raise SystemExit(1) from None


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
