"""What is up on this machine, as a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table

from hearth_cluster.paths import clusters_dir
from hearth_cluster.processes import Supervisor
from hearth_cluster.state import ClusterState, all_clusters


@dataclass(frozen=True)
class Line:
    """One component of one cluster."""

    cluster: str
    profile: str
    component: str
    running: bool
    seconds: float | None
    """How long ago it was started, as its record says."""


def lines(states: list[ClusterState], now: float) -> Iterator[Line]:
    """The components of the clusters, in the order they were started."""
    for state in states:
        settings = state.settings()
        profile = "/".join(str(settings[key]) for key in ("profile", "provider") if key in settings)
        supervisor = Supervisor(state.folder)
        for name in supervisor.names():
            started = supervisor.started(name)
            age = None if started is None else now - started
            yield Line(state.name, profile, name, supervisor.running(name), age)


def table() -> Table | str:
    """All clusters of the machine."""
    states = all_clusters()
    if not states:
        return "no cluster is up"
    shown = Table("cluster", "profile", "component", "state", "since", box=None, header_style="bold")
    previous = None
    for line in lines(states, time.time()):
        first = line.cluster != previous
        previous = line.cluster
        condition = "[green]running[/green]" if line.running else "[red]ended[/red]"
        since = "" if line.seconds is None else duration(line.seconds)
        head = (line.cluster, line.profile) if first else ("", "")
        shown.add_row(*head, line.component, condition, since)
    for state in states:
        if not Supervisor(state.folder).names():
            made_by_kind = state.settings().get("provider") == "kind"
            shown.add_row(state.name, "", "", "containers of Docker" if made_by_kind else "[red]nothing runs[/red]", "")
    shown.caption = f"logs: {clusters_dir()}/CLUSTER/logs/COMPONENT.log"
    shown.caption_justify = "left"
    return shown


def duration(seconds: float) -> str:
    """A length of time as people say it: the two largest units."""
    whole = int(seconds)
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {name}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
