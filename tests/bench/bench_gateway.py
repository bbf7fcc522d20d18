"""What the gateway adds to a request, against the same engine asked directly in the same run.

make bench-gateway                                                 an engine on loopback that takes no time
make bench-gateway-vllm                                            vLLM on a node of this run alone (root on Linux)
make bench-gateway-vllm CLUSTER=hearth SERVICE=default/assistant   the vLLM of a service on a running node
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
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ask_both import WARM_UP
from fleet import until
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.images import deliver_profile, values_file
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState
from helm import Helm
from operator_process import free_port
from report import machine, percentile, save, show

HERE = Path(__file__).parent
CONCURRENCIES = (1, 8)
INSTANT_COUNT, VLLM_COUNT = 500, 200
"""Requests of each kind. On two cores vLLM answers a few in a second."""

Ways = tuple[str, str, str, list[str]]
"""Addresses of the engine and of the gateway, the model's name, and a prefix for the client's command."""


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
def local() -> Iterator[Ways]:
    """The instant engine and a gateway in front of it."""
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


@contextmanager
def served() -> Iterator[Ways]:
    """A node, the charts, and a service whose engine is vLLM with SmolLM2-135M: all of this run alone."""
    progress = Progress()
    with ephemeral.node(progress) as cluster:
        deliver_profile(cluster.state, "test", progress)
        helm = Helm(cluster, values_file(cluster.state))
        with progress.step("installing the charts"):
            helm.install("hearth-crds")
            helm.install("hearth")
        # Every processor multiplies float32; 16 bits are emulated where it has no instructions for them.
        spec = {
            "model": {"uri": f"oci://{cluster.state.images['models/smollm2-135m-instruct']}"},
            "engine": {"maxModelLen": 1024, "maxConcurrency": max(CONCURRENCIES), "dtype": "Float32"},
        }
        service = {"apiVersion": "hearth.dev/v1alpha1", "kind": "LLMService", "spec": spec}
        cluster.apply(service | {"metadata": {"name": "bench", "namespace": "default"}})
        with progress.step("starting vLLM"):
            cluster.kubectl("wait", "--for=condition=Ready", "llmservice/bench", "-n", "default", "--timeout=600s")
        yield ways_to(cluster, "default/bench")


def running(name: str) -> Cluster:
    """A cluster that is up.

    Raises ClusterError where it is not.
    """
    cluster = Cluster(ClusterState(name))
    if not cluster.kubeconfig.exists():
        raise ClusterError(f"the cluster {name} is not up: make cluster-up CLUSTER={name}")
    return cluster


def ways_to(cluster: Cluster, service: str) -> Ways:
    """The engine and the gateway of a service that is Ready; the client runs in the node's network namespace."""
    namespace, _, resource = service.rpartition("/")
    address = lambda s: f"http://{cluster.get('service', s, '-n', namespace)['spec']['clusterIP']}:8000"  # noqa: E731
    model = cluster.get("llmservice", resource, "-n", namespace)["spec"].get("servedName", resource)
    return address(f"{resource}-engine"), address(resource), model, network_prefix(cluster)


def network_prefix(cluster: Cluster) -> list[str]:
    """Runs a command where the cluster's Services can be reached."""
    namespace = cluster.state.netns
    return ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []


def measure(ways: Ways, count: int, concurrency: int) -> dict[str, Any]:
    """Times of both ways, and what lies between them."""
    found = ask(ways, count, concurrency)
    figures: dict[str, Any] = {"concurrency": concurrency, "requestsPerSecond": 4 * count / found["seconds"]}
    for kind in ("whole", "firstByte"):
        for percent in (50, 99):
            pair = {way: percentile(found[way][kind], percent) * 1000 for way in ("direct", "gateway")}
            added = pair["gateway"] - pair["direct"]
            figures[f"{kind}P{percent}"] = {**pair, "added": added, "ratio": pair["gateway"] / pair["direct"]}
    return figures


def ask(ways: Ways, count: int, concurrency: int) -> dict[str, Any]:
    """What the client found; it is a process of its own, which counts its rounds on stderr.

    Raises RuntimeError with what it said where it failed.
    """
    direct, gateway, model, prefix = ways
    command = [*prefix, sys.executable, str(HERE / "ask_both.py"), direct, gateway, model, str(count), str(concurrency)]
    rounds = WARM_UP + count // concurrency * concurrency
    said: list[str] = []
    # A file, because a pipe that nobody reads meanwhile fills up at 64 KiB.
    with tempfile.TemporaryFile("w+") as answer:
        with (
            Progress().step(f"asking both, {concurrency} at a time", rounds) as step,
            subprocess.Popen(command, stdout=answer, stderr=subprocess.PIPE, text=True) as client,
        ):
            for line in client.stderr or ():
                if line == "asked\n":
                    step.advance()
                else:
                    said.append(line)
        if client.returncode:
            raise RuntimeError("".join(said[-20:]))
        answer.seek(0)
        found: dict[str, Any] = json.load(answer)
    return found


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


def engine_of(options: argparse.Namespace) -> AbstractContextManager[Ways]:
    """What the command line asks to measure."""
    if options.cluster:
        return nullcontext(ways_to(running(options.cluster), options.service))
    return served() if options.vllm else local()


def main() -> None:
    """Reads the command line and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = f"default: {INSTANT_COUNT}, of vLLM {VLLM_COUNT}"
    parser.add_argument("--count", type=int, help=f"requests of each kind ({default})")
    parser.add_argument("--vllm", action="store_true", help="a node with vLLM of this run alone")
    parser.add_argument("--cluster", default=os.environ.get("HEARTH_CLUSTER"), help="a cluster that is up")
    parser.add_argument("--service", help="NAMESPACE/NAME of a Ready LLMService in it")
    options = parser.parse_args()
    if bool(options.cluster) != bool(options.service):
        parser.error("--cluster and --service go together")
    fewest = 2 * max(CONCURRENCIES)
    if options.count is not None and options.count < fewest:
        parser.error(f"{options.count} requests make no percentiles: ask for {fewest} at least")
    real = options.vllm or bool(options.cluster)
    name, engine = ("gateway-vllm", "vLLM") if real else ("gateway-instant", "an instant engine on loopback")
    count = options.count or (VLLM_COUNT if real else INSTANT_COUNT)
    about = machine()
    try:
        with engine_of(options) as ways:
            measured = [measure(ways, count, n) for n in CONCURRENCIES]
    except ClusterError as error:
        parser.exit(1, f"{error}\n")
    print_table(engine, count, measured)
    save(name, {"machine": about, "engine": engine, "count": count, "measured": measured})


if __name__ == "__main__":
    main()
