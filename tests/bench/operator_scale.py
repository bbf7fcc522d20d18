"""How the operator scales: N LLMServices on a control plane with kwok-run pods.

Prints, and with --json writes, for one run: API writes per resource to converge (beside its children), reads, writes at
rest and after a restart, CPU per resource, resident memory, and the time from start to a full cache.

    python tests/bench/operator_scale.py --services 1000 --json result.json
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from hearth.api.base import Json  # noqa: E402
from hearth.kube.api import Selection  # noqa: E402
from hearth.kube.credentials import from_kubeconfig  # noqa: E402
from hearth.kube.errors import ApiError  # noqa: E402
from hearth.kube.http_api import HttpApi  # noqa: E402
from hearth.kube.resources import APPLIED, POD, hearth_resource  # noqa: E402
from hearth.kube.transport import Transport  # noqa: E402
from hearth_cluster import ephemeral  # noqa: E402
from hearth_cluster.cluster import Cluster  # noqa: E402
from hearth_cluster.fakenodes import fate, parse_groups  # noqa: E402
from kind_results import FACTS  # noqa: E402
from operator_process import OperatorProcess, free_port, hearth_run  # noqa: E402

SERVICES = hearth_resource("LLMService", "llmservices")
NAMESPACE = "bench"
PODS_PER_NODE = 100
INSPECTED = fate(0, json.dumps({"facts": FACTS}))


def service(number: int) -> Json:
    """One of the equal services."""
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": {"name": f"chat-{number:04d}", "namespace": NAMESPACE},
        "spec": {
            "model": {"uri": "oci://registry.example/models/smollm2:1"},
            "accelerator": {"count": 0},
            "podOverrides": {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
        },
    }


async def finish_inspections(api: HttpApi) -> None:
    """Plays the inspection containers: each pod leaves the model's facts and ends."""
    what = Selection(POD, NAMESPACE, labels="hearth.dev/component=inspect")
    version = ""
    async for page in api.list(what):
        version = page.resource_version
    done: set[str] = set()
    async for event in watch_for_ever(api, what, version):
        name = event["metadata"]["name"]
        if event.get("status", {}).get("phase") == "Running" and name not in done:
            done.add(name)
            await api.merge(POD, NAMESPACE, name, {"metadata": {"annotations": INSPECTED}})


async def watch_for_ever(api: HttpApi, what: Selection, version: str) -> AsyncIterator[Json]:
    """Objects as they change, over as many watches as it takes."""
    while True:
        async for event in api.watch(what, version):
            version = event.object["metadata"]["resourceVersion"]
            if event.type in ("ADDED", "MODIFIED"):
                yield event.object


async def create_all(api: HttpApi, count: int) -> None:
    """Creates the services, eight at a time."""
    numbers = iter(range(count))

    async def creator() -> None:
        for number in numbers:
            await api.create(SERVICES, service(number))

    await asyncio.gather(*(creator() for _ in range(8)))


async def ready_count(api: HttpApi) -> int:
    """How many services are Ready for their newest spec."""
    count = 0
    async for page in api.list(Selection(SERVICES, NAMESPACE)):
        for obj in page.items:
            status = obj.get("status") or {}
            is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
            count += is_ready and status.get("observedGeneration") == obj["metadata"]["generation"]
    return count


async def children_count(api: HttpApi) -> int:
    """How many objects the services control."""
    count = 0
    for resource in APPLIED:
        async for page in api.list(Selection(resource, NAMESPACE, metadata_only=True)):
            owners = [r for obj in page.items for r in obj["metadata"].get("ownerReferences") or ()]
            count += sum(owner["kind"] == SERVICES.kind for owner in owners)
    return count


async def until(holds: Callable[[], bool], seconds: float) -> None:
    """Asks again and again, at this interval: what is waited for lives in another process."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(seconds)


def memory_of(pid: int) -> dict[str, float]:
    """Resident memory now and at its peak, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"rss": kib["VmRSS"] / 1024, "peak": kib["VmHWM"] / 1024}


def reads_of(operator: OperatorProcess) -> float:
    """GETs of single objects; the leader's Lease and the certificate are read once a start."""
    total = operator.metric("hearth_api_requests_total", verb="get")
    once = ("leases", "secrets", "discovery")
    return total - sum(operator.metric("hearth_api_requests_total", verb="get", resource=name) for name in once)


def cpu_of(operator: OperatorProcess) -> float:
    """CPU seconds of the process."""
    return operator.metric("process_cpu_seconds_total")


class Bench:
    """One run."""

    def __init__(self, cluster: Cluster, api: HttpApi, count: int, folder: Path) -> None:
        self.cluster, self.api, self.count, self.folder = cluster, api, count, folder
        self.settings = folder / "settings.yaml"
        names = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
        url = f"https://hearth-progress.{NAMESPACE}.svc:{free_port()}"
        images = {name: f"registry.example/hearth/{name}:1" for name in names}
        self.settings.write_text(yaml.safe_dump({"images": images, "namespace": NAMESPACE, "progress_url": url}))

    async def start(self, name: str) -> tuple[OperatorProcess, float]:
        """A new operator and the seconds until its cache is full, from its own log."""
        log = self.folder / f"{name}.log"
        operator = hearth_run(self.cluster.kubeconfig, self.settings, log, "--log-level", "info")
        await until(lambda: operator.is_leader() and operator.is_ready(), 0.2)
        times = {}
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            times[entry["message"].split(" as ")[0].split(" with ")[0]] = datetime.fromisoformat(entry["time"])
        return operator, (times["at work"] - times["became the leader"]).total_seconds()

    async def converge(self, operator: OperatorProcess) -> Json:
        """From no service to all Ready."""
        cpu, started = cpu_of(operator), time.monotonic()
        await create_all(self.api, self.count)
        created = time.monotonic() - started
        while (ready := await ready_count(self.api)) < self.count:
            print(f"  {ready} of {self.count} Ready after {time.monotonic() - started:.0f} s", flush=True)
            await asyncio.sleep(5)
        seconds = time.monotonic() - started
        await self.rest(operator)
        children = await children_count(self.api)
        verbs = {"status": self.status_writes(operator), "events": self.events(operator)}
        return {
            "seconds_to_create": created,
            "seconds_to_ready": seconds,
            "children_per_resource": children / self.count,
            "status_writes_per_resource": verbs["status"] / self.count,
            "events_per_resource": verbs["events"] / self.count,
            "other_writes_per_resource": (operator.writes() - children - sum(verbs.values())) / self.count,
            "reads_per_resource": reads_of(operator) / self.count,
            "passes_per_resource": operator.metric("hearth_reconcile_seconds_count") / self.count,
            "cpu_ms_per_resource": 1000 * (cpu_of(operator) - cpu) / self.count,
            **{f"{name}_mib": value for name, value in memory_of(operator.pid).items()},
        }

    async def rest(self, operator: OperatorProcess) -> None:
        """Waits until nothing was written for a while."""
        writes, since = -1.0, time.monotonic()
        while time.monotonic() - since < 12:
            if operator.writes() != writes:
                writes, since = operator.writes(), time.monotonic()
            await asyncio.sleep(1)

    def status_writes(self, operator: OperatorProcess) -> float:
        return operator.metric("hearth_api_requests_total", verb="apply", resource="llmservices/status")

    def events(self, operator: OperatorProcess) -> float:
        return operator.metric("hearth_api_requests_total", resource="events")

    async def run(self) -> Json:
        """All of it."""
        operator, empty_sync = await self.start("first")
        await asyncio.sleep(2)
        empty = memory_of(operator.pid)["rss"]
        found: Json = {"services": self.count, "empty_rss_mib": empty, "empty_start_to_synced_s": empty_sync}
        found |= await self.converge(operator)
        writes, cpu = operator.writes(), cpu_of(operator)
        await asyncio.sleep(60)
        found |= {
            "writes_at_rest_per_minute": operator.writes() - writes,
            "cpu_at_rest_percent": 100 * (cpu_of(operator) - cpu) / 60,
        }
        operator.stop()
        operator, synced = await self.start("second")
        await until(lambda: operator.metric("hearth_reconcile_seconds_count") >= self.count, 1.0)
        await self.rest(operator)
        found |= {
            "restart_to_synced_s": synced,
            "restart_writes": operator.writes(),
            "restart_reads": reads_of(operator),
            "restart_cpu_s": cpu_of(operator),
            **{f"restart_{name}_mib": value for name, value in memory_of(operator.pid).items()},
        }
        operator.stop()
        return found


async def measure(count: int) -> Json:
    """Brings a control plane up, runs, takes it down."""
    with ephemeral.control_plane() as cluster, tempfile.TemporaryDirectory() as folder:
        nodes = 1 + 2 * count // PODS_PER_NODE
        cluster.fake_nodes(parse_groups(f"nodes: [{{count: {nodes}, cpu: '1000', memory: 4Ti}}]"))
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        cluster.kubectl("create", "namespace", NAMESPACE)
        async with Transport(from_kubeconfig(cluster.kubeconfig)) as transport:
            api = HttpApi(transport)
            inspector = asyncio.create_task(finish_inspections(api))
            try:
                return await Bench(cluster, api, count, Path(folder)).run()
            except ApiError:
                print(cluster.kubectl("get", "events", "-n", NAMESPACE)[-2000:])
                raise
            finally:
                inspector.cancel()


def machine() -> Json:
    """Where this was measured."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpus": os.cpu_count(),
        "cpu": model,
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the operator at scale.")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    found = {"machine": machine(), "figures": asyncio.run(measure(arguments.services))}
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
