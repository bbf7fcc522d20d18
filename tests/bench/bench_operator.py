"""What it costs to converge many LLMServices, to keep them, and to restart the operator.

    make bench-operator COUNT=1000

The control plane is real (etcd, API server, controllers, scheduler); kwok plays the pods. The operator is `hearth run`,
a process of its own, with its Lease. Its requests are those that it counts itself (`hearth_api_requests_total`); the
API server's own count of server-side applies stands beside them as a witness. CPU and memory are the kernel's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fleet import Fleet, until
from hearth_cluster import ephemeral
from hearth_cluster.progress import Progress
from operator_process import OperatorProcess, hearth_run
from report import console, machine, save, show

WRITES = ("apply", "create", "update", "patch", "delete")
OF_EVERY_START = ("leases", "secrets", "services", "endpointslices", "tokenreviews")
"""Resources of requests that do not depend on what is served: the Lease and the progress endpoint.

A Service is also a child, but that write is an apply of the executor's and not in a verb of the endpoint's.
"""
REST_SECONDS = 60.0
MIB = 2**20

# Measured on 2026-11-24 on the same kind of set-up (two cores, real control plane, kwok), and quoted here.
QUOTED = {
    "JobSet": {"writes": "children + 2.0", "reads": "0", "cpu": "5.9", "empty": "47", "full": "117", "synced": "0.3"},
    "KubeAI": {"writes": "children + 4.0", "reads": "-", "cpu": "7.0", "empty": "-", "full": "-", "synced": "-"},
}


@dataclass(frozen=True)
class Sample:
    """What the operator has used and asked for since it was started."""

    requests: dict[tuple[str, str], int]
    cpu_seconds: float
    memory: int
    peak_memory: int

    def minus(self, earlier: Sample) -> dict[tuple[str, str], int]:
        """Requests made since an earlier sample, by verb and resource."""
        since = {what: count - earlier.requests.get(what, 0) for what, count in self.requests.items()}
        return {what: count for what, count in since.items() if count}


def sample(operator: OperatorProcess) -> Sample:
    """The operator's state now."""
    requests: dict[tuple[str, str], int] = {}
    for line in operator.ask("/metrics")[1].splitlines():
        if line.startswith("hearth_api_requests_total{"):
            labels = dict(part.split("=") for part in line[line.index("{") + 1 : line.index("}")].split(","))
            what = (labels["verb"].strip('"'), labels["resource"].strip('"'))
            requests[what] = requests.get(what, 0) + int(float(line.rsplit(" ", 1)[1]))
    if not requests:
        raise RuntimeError(f"the operator has no metrics; its log ends with\n{operator.log_text()[-2000:]}")
    fields = Path(f"/proc/{operator.pid}/stat").read_text().rpartition(")")[2].split()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{operator.pid}/status").read_text().splitlines())
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Sample(requests, cpu, int(status["VmRSS"].split()[0]) * 1024, int(status["VmHWM"].split()[0]) * 1024)


def total(requests: dict[tuple[str, str], int], *verbs: str) -> int:
    """Requests with one of the verbs that the number of resources can drive."""
    return sum(n for (verb, what), n in requests.items() if verb in verbs and not _of_start(verb, what))


def _of_start(verb: str, what: str) -> bool:
    return what in OF_EVERY_START and not (verb == "apply" and what == "services")


def told(requests: dict[tuple[str, str], int]) -> dict[str, int]:
    """Requests as JSON can hold them."""
    return {f"{verb} {what}": count for (verb, what), count in sorted(requests.items())}


def seen(operator: OperatorProcess) -> dict[str, int]:
    """Objects that watches and own writes have told of, by kind and what they came to."""
    metrics = operator.ask("/metrics")[1]
    found = re.findall(r'^hearth_objects_seen_total\{change="(\w+)",kind="(\w+)"\} (\S+)$', metrics, re.MULTILINE)
    return {f"{kind} {change}": int(float(count)) for change, kind, count in sorted(found)}


class Bench:
    """One run over one fleet."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet, self._folder = fleet, folder
        self._settings = fleet.prepare(folder)

    def start(self, name: str) -> tuple[OperatorProcess, float]:
        """Starts `hearth run`; returns it with the seconds from the exec of Python to a leader's /readyz."""
        arguments = ("--progress-address", "127.0.0.1")
        began = time.monotonic()
        operator = hearth_run(self._fleet.cluster.kubeconfig, self._settings, self._folder / f"{name}.log", *arguments)
        try:
            # A replica that waits to lead is ready, too.
            until(lambda: operator.is_leader() and operator.is_ready(), "the operator to be ready", 180, 0.02)
        except TimeoutError:
            console.print(operator.log_text()[-4000:], markup=False)
            operator.end()
            raise
        return operator, time.monotonic() - began

    def fill_seconds(self, name: str) -> float:
        """From leadership to a full cache and workers at work, by the operator's own log: start-up of Python apart."""
        times: dict[str, datetime] = {}
        for line in (self._folder / f"{name}.log").read_text().splitlines():
            if not line.startswith("{"):
                continue  # a library's own words
            entry = json.loads(line)
            times.setdefault(" ".join(entry["message"].split()[:2]), datetime.fromisoformat(entry["time"]))
        return (times["at work"] - times["became the"]).total_seconds()

    def run(self) -> dict[str, Any]:
        """Every measurement."""
        operator, first_start = self.start("first")
        try:
            result = self._converge(operator) | {"emptyStartSeconds": first_start}
            result["rest"] = self._rest(operator)
            operator.stop()
        finally:
            operator.end()
        return result | {"restart": self._restart()}

    def _converge(self, operator: OperatorProcess) -> dict[str, Any]:
        fleet = self._fleet
        time.sleep(2)
        before, applied_before = sample(operator), fleet.applies()
        began = time.monotonic()
        fleet.create()
        created = time.monotonic() - began
        console.print(f"{fleet.count} services created in {created:.0f} s")

        def done() -> bool:
            console.print(f"  {operator.metric('hearth_queue_depth'):.0f} keys wait, {(ready := fleet.ready())} ready")
            return ready == fleet.count and operator.metric("hearth_queue_depth") == 0

        until(done, "every service to be Ready", 60 + fleet.count * 1.5, 5)
        wall = time.monotonic() - began
        after = sample(operator)
        requests = after.minus(before)
        writes = {what: n for what, n in requests.items() if what[0] in WRITES and not _of_start(*what)}
        statuses = writes.get(("apply", "llmservices/status"), 0)
        events = sum(n for (_, what), n in writes.items() if what == "events")
        return {
            "count": fleet.count,
            "task": fleet.task,
            "createSeconds": created,
            "convergeSeconds": wall,
            "children": total(requests, *WRITES) - statuses - events,
            "statusWrites": statuses,
            "eventWrites": events,
            "writes": total(requests, *WRITES),
            "reads": total(requests, "get", "list"),
            "appliesTheServerCounted": fleet.applies() - applied_before,
            "requests": told(requests),
            "childrenNow": fleet.children(),
            "cpuSeconds": after.cpu_seconds - before.cpu_seconds,
            "emptyMemory": before.memory,
            "memory": after.memory,
            "peakMemory": after.peak_memory,
            "passes": operator.metric("hearth_reconcile_seconds_count"),
            "objectsSeen": seen(operator),
            "passErrors": operator.metric("hearth_reconcile_errors_total"),
        }

    def _rest(self, operator: OperatorProcess) -> dict[str, Any]:
        before, versions = sample(operator), self._fleet.versions()
        time.sleep(REST_SECONDS)
        after = sample(operator)
        return {
            "seconds": REST_SECONDS,
            "requests": told(after.minus(before)),
            "writes": total(after.minus(before), *WRITES),
            "changedObjects": _changed(versions, self._fleet.versions()),
            "cpuSeconds": after.cpu_seconds - before.cpu_seconds,
            "memory": after.memory,
        }

    def _restart(self) -> dict[str, Any]:
        pods, versions = self._fleet.serving_pods(), self._fleet.versions()
        operator, ready = self.start("second")
        try:
            started = sample(operator)
            passes = lambda: operator.metric("hearth_reconcile_seconds_count")  # noqa: E731
            until(
                lambda: passes() >= self._fleet.count and operator.metric("hearth_queue_depth") == 0,
                "every service to be looked at",
                300,
                0.5,
            )
            time.sleep(5)
            after = sample(operator)
            later = self._fleet.serving_pods()
            return {
                "readySeconds": ready,
                "fillSeconds": self.fill_seconds("second"),
                "cpuSecondsToReady": started.cpu_seconds,
                "cpuSeconds": after.cpu_seconds,
                "writes": total(after.requests, *WRITES),
                "requests": told(after.requests),
                "changedObjects": _changed(versions, self._fleet.versions()),
                "pods": len(pods),
                "podsRestarted": _changed(pods, later) + len(pods.keys() - later.keys()),
                "memory": after.memory,
                "peakMemory": after.peak_memory,
            }
        finally:
            operator.end()


def _changed(before: dict[str, str], after: dict[str, str]) -> int:
    return sum(1 for name, version in after.items() if before.get(name) != version)


def print_table(result: dict[str, Any]) -> None:
    """The figures beside the goals, and beside those of two Go operators."""
    count, rest, restart = result["count"], result["rest"], result["restart"]
    children = result["children"] / count
    jobset, kubeai = QUOTED["JobSet"], QUOTED["KubeAI"]
    writes = f"{children:.1f} children + {result['statusWrites'] / count:.2f}"
    cpu = result["cpuSeconds"] / count * 1000
    rows = [
        ("writes per resource", writes, "children + 2", jobset["writes"], kubeai["writes"]),
        ("passes per resource", f"{result['passes'] / count:.1f}", "-", "-", "-"),
        ("objects seen per resource", f"{sum(result['objectsSeen'].values()) / count:.0f}", "-", "-", "-"),
        ("Events per resource", f"{result['eventWrites'] / count:.2f}", "-", "-", "-"),
        ("reads per resource", f"{result['reads'] / count:.2f}", "0", jobset["reads"], kubeai["reads"]),
        ("operator CPU per resource, ms", f"{cpu:.1f}", "15", jobset["cpu"], kubeai["cpu"]),
        ("memory without resources, MiB", f"{result['emptyMemory'] / MIB:.0f}", "-", jobset["empty"], kubeai["empty"]),
        (f"memory at {count}, MiB", f"{result['memory'] / MIB:.0f}", "110", jobset["full"], kubeai["full"]),
        (f"writes at rest in {rest['seconds']:.0f} s", str(rest["writes"]), "0", "-", "-"),
        ("CPU at rest, ms/s", f"{rest['cpuSeconds'] / rest['seconds'] * 1000:.1f}", "-", "-", "-"),
        ("restart, process start to synced, s", f"{restart['readySeconds']:.1f}", "3", "-", "-"),
        ("restart, leader to synced, s", f"{restart['fillSeconds']:.1f}", "3", jobset["synced"], kubeai["synced"]),
        ("writes after a restart", str(restart["writes"]), "0", "-", "-"),
        ("pods restarted", f"{restart['podsRestarted']} of {restart['pods']}", "0", "-", "-"),
    ]
    note = "JobSet and KubeAI: quoted from 2026-11-24 on the same kind of set-up, at 1,000 resources; not run here."
    columns = ("", "Hearth", "goal", "JobSet (Go)", "KubeAI (Go)")
    show(f"{count} LLMServices ({result['task']}), pods by kwok", columns, rows, note)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="LLMServices (default: %(default)s)")
    parser.add_argument("--task", choices=("Generate", "Embed"), default="Generate", help="default: %(default)s")
    options = parser.parse_args()
    about = machine()
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder, ephemeral.control_plane(Progress()) as cluster:
        result = Bench(Fleet(cluster, options.count, options.task), Path(folder)).run()
    print_table(result)
    save(f"operator-{options.task.lower()}-{options.count}", {"machine": about, **result})


if __name__ == "__main__":
    main()
