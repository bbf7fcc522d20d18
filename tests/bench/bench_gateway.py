"""What the gateway adds to a request, against the same engine asked directly in the same run.

make bench-gateway                                                 an engine on loopback that takes no time
make bench-gateway CLUSTER=hearth SERVICE=default/assistant        the vLLM of a service on a running node
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet import until
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.state import ClusterState
from operator_process import free_port
from report import machine, percentile, save, show

HERE = Path(__file__).parent
CONCURRENCIES = (1, 8)


@contextmanager
def _process(command: list[str], url: str, env: dict[str, str]) -> Iterator[None]:
    """A server as a process of its own, for as long as it is asked."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | env)
    try:
        until(lambda: _answers(url), f"{url} to answer", 60, 0.1)
        yield
    finally:
        process.kill()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def local() -> Iterator[tuple[str, str, str, list[str]]]:
    """The instant engine and a gateway in front of it: both addresses, the model, and a prefix for the client."""
    engine, gateway = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps({"service": "bench", "servedName": "bench", "upstream": engine}))
        env = {"HEARTH_CONFIG": str(config), "HEARTH_HOST": "127.0.0.1", "HEARTH_PORT": gateway.rpartition(":")[2]}
        serve = [sys.executable, str(HERE / "instant_engine.py"), engine.rpartition(":")[2]]
        with (
            _process(serve, f"{engine}/health", {}),
            _process([sys.executable, "-m", "hearth_gateway"], f"{gateway}/healthz", env),
        ):
            yield engine, gateway, "bench", []


def on_cluster(name: str, service: str) -> tuple[str, str, str, list[str]]:
    """The engine and the gateway of a service that is Ready; the client runs in the node's network namespace."""
    cluster = Cluster(ClusterState(name))
    if not cluster.kubeconfig.exists():
        raise ClusterError(f"the cluster {name} is not up: make cluster-up CLUSTER={name}")
    namespace, _, resource = service.rpartition("/")
    address = lambda s: f"http://{cluster.get('service', s, '-n', namespace)['spec']['clusterIP']}:8000"  # noqa: E731
    model = cluster.get("llmservice", resource, "-n", namespace)["spec"].get("servedName", resource)
    return address(f"{resource}-engine"), address(resource), model, network_prefix(cluster)


def network_prefix(cluster: Cluster) -> list[str]:
    """Runs a command where the cluster's Services can be reached."""
    namespace = cluster.state.netns
    return ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []


def measure(ways: tuple[str, str, str, list[str]], count: int, concurrency: int) -> dict[str, Any]:
    """Times of both ways, and what lies between them."""
    direct, gateway, model, prefix = ways
    command = [*prefix, sys.executable, str(HERE / "ask_both.py"), direct, gateway, model, str(count), str(concurrency)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    figures: dict[str, Any] = {"concurrency": concurrency, "requestsPerSecond": 4 * count / found["seconds"]}
    for kind in ("whole", "firstByte"):
        for percent in (50, 99):
            pair = {way: percentile(found[way][kind], percent) * 1000 for way in ("direct", "gateway")}
            added = pair["gateway"] - pair["direct"]
            figures[f"{kind}P{percent}"] = {**pair, "added": added, "ratio": pair["gateway"] / pair["direct"]}
    return figures


NAMES = {"whole": "whole answer", "firstByte": "stream, first content"}


def print_table(engine: str, count: int, measured: list[dict[str, Any]]) -> None:
    """Milliseconds."""
    rows = [
        (
            f"{NAMES[kind]}, p{percent}, {figures['concurrency']} at a time",
            f"{f['direct']:.2f}",
            f"{f['gateway']:.2f}",
            f"{f['added']:+.2f}",
            f"{f['ratio']:.2f}",
        )
        for figures in measured
        for kind in NAMES
        for percent in (50, 99)
        for f in [figures[f"{kind}P{percent}"]]
    ]
    show(f"{engine}, {count} requests of each kind", ("", "direct, ms", "gateway, ms", "added, ms", "ratio"), rows)


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="requests of each kind (default: %(default)s)")
    parser.add_argument("--cluster", default=os.environ.get("HEARTH_CLUSTER"), help="a cluster that is up")
    parser.add_argument("--service", help="NAMESPACE/NAME of a Ready LLMService in it")
    options = parser.parse_args()
    if bool(options.cluster) != bool(options.service):
        parser.error("--cluster and --service go together; without both, an instant engine on loopback is used")
    about = machine()
    if options.cluster:
        name, engine = "gateway-vllm", f"vLLM of {options.service}"
        ways = on_cluster(options.cluster, options.service)
        measured = [measure(ways, options.count, n) for n in CONCURRENCIES]
    else:
        name, engine = "gateway-instant", "an instant engine on loopback"
        with local() as ways:
            measured = [measure(ways, options.count, n) for n in CONCURRENCIES]
    print_table(engine, options.count, measured)
    save(name, {"machine": about, "engine": engine, "count": options.count, "measured": measured})


if __name__ == "__main__":
    main()
