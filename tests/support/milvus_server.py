"""Real engines on loopback: Milvus 2.3.5 (the C++ server) and milvus-lite 3.2.2, each a process of its own."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from pymilvus import MilvusClient, MilvusException


def free_port() -> int:
    """A port nobody listens on. gRPC sets SO_REUSEPORT: two servers on one port would share its clients silently."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningEngine:
    """An engine process. `restart` kills it without warning and starts it again on the same data."""

    kind: str
    uri: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes]

    def client(self) -> MilvusClient:
        """A client that may look at everything."""
        return MilvusClient(uri=self.uri, timeout=60)

    def empty(self) -> None:
        """Drops every collection."""
        client = self.client()
        for collection in client.list_collections():
            for alias in client.list_aliases(collection).get("aliases", []):
                client.drop_alias(alias)
            client.drop_collection(collection)

    def restart(self) -> None:
        """As after a node lost power."""
        self.stop()
        self.process = self.start()
        wait_for_answer(self)

    def stop(self) -> None:
        """Ends the process at once: nothing of it is looked at any more, or it has to bear it."""
        self.process.kill()
        self.process.wait()


def wait_for_answer(engine: RunningEngine) -> None:
    """Until the server answers, or its process ends."""
    for _ in range(240):
        assert engine.process.poll() is None, f"{engine.kind} ended with {engine.process.returncode}"
        try:
            engine.client().list_collections()
        except MilvusException:
            time.sleep(0.25)
        else:
            return
    pytest.fail(f"{engine.kind} does not answer")


def start_lite(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """`milvus-lite server`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).parent / "milvus-lite"), "server", "--data-dir", str(folder)]
    with (folder.parent / "lite.log").open("ab") as log:
        return subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log)


def unpacked_milvus(cache: Path) -> Path:
    """The server's files from the wheel, unpacked once."""
    spec = find_spec("milvus")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    if not (cache / "ready").exists():
        (cache / "bin").mkdir(parents=True, exist_ok=True)
        (cache / "configs").mkdir(exist_ok=True)
        for packed in (data / "bin").glob("*.lzma"):
            out = cache / "bin" / packed.stem
            out.write_bytes(lzma.decompress(packed.read_bytes()))
            out.chmod(0o755)
        shutil.copy(data / "glog.conf", cache / "configs")
        template = (data / "config.yaml.template").read_text(encoding="utf-8")
        (cache / "configs" / "milvus.yaml").write_text(re.sub(r"\{\{(.*?)\}\}", _default, template), encoding="utf-8")
        (cache / "ready").touch()
    return cache


def _default(placeholder: re.Match[str]) -> str:
    return placeholder.group(1).partition(":")[2].strip()


HURRY = {
    "QUERYCOORD_CHECKCHANNELINTERVAL": "50", "QUERYCOORD_CHECKSEGMENTINTERVAL": "50", "QUERYCOORD_CHECKINTERVAL": "50",
    "QUERYCOORD_DISTPULLINTERVAL": "50", "INDEXCOORD_SCHEDULER_INTERVAL": "50", "PROXY_TIMETICKINTERVAL": "50",
    "DATANODE_TIMETICK_INTERVAL": "50", "COMMON_SESSION_TTL": "20",
}  # fmt: skip
"""How often Milvus's parts look at each other's work, in milliseconds, and how many seconds a server's place is kept.

Waiting for the next look is most of what they do: with the defaults a build of 36 chunks takes 17 s. A test that kills
the server waits for its place. With 5 s a server on busy cores lost it while it ran, and never answered again.
"""


def start_milvus(server: Path, folder: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    """`milvus run standalone`, set up by its environment as the operator does it, every port its own."""
    folder.mkdir(parents=True, exist_ok=True)
    client, peer = f"http://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['peer']}"
    (folder / "etcd.yaml").write_text(
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n"
        f"initial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n",
        encoding="utf-8",
    )
    environment = os.environ | HURRY | {
        "DEPLOY_MODE": "STANDALONE", "LD_LIBRARY_PATH": str(server / "bin"), "MILVUSCONF": str(server / "configs"),
        "METRICS_PORT": str(ports["metrics"]), "ETCD_USE_EMBED": "true", "ETCD_DATA_DIR": str(folder / "etcd"),
        "ETCD_CONFIG_PATH": str(folder / "etcd.yaml"), "ETCD_ENDPOINTS": f"127.0.0.1:{ports['etcd']}",
        "COMMON_STORAGETYPE": "local", "LOCALSTORAGE_PATH": f"{folder / 'data'}/", "MQ_TYPE": "rocksmq",
        "ROCKSMQ_PATH": str(folder / "rdb_data"), "ROOTCOORD_PORT": str(ports["root"]),
        "PROXY_PORT": str(ports["proxy"]), "PROXY_INTERNALPORT": str(ports["internal"]),
        "QUERYCOORD_PORT": str(ports["query"]), "QUERYNODE_PORT": str(ports["querynode"]),
        "INDEXNODE_PORT": str(ports["indexnode"]), "DATACOORD_PORT": str(ports["data"]),
        "DATANODE_PORT": str(ports["datanode"]),
    }  # fmt: skip
    with (folder / "milvus.log").open("ab") as log:
        command = [str(server / "bin" / "milvus"), "run", "standalone"]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)


ROLES = ("etcd", "peer", "metrics", "root", "proxy", "internal", "query", "querynode", "indexnode", "data", "datanode")


def running_milvus(folder: Path, cache: Path) -> RunningEngine:
    """A real Milvus, ready to answer."""
    server = unpacked_milvus(cache)
    ports = {role: free_port() for role in ROLES}

    def start() -> subprocess.Popen[bytes]:
        return start_milvus(server, folder, ports)

    engine = RunningEngine("milvus-2.3.5", f"http://127.0.0.1:{ports['proxy']}", start, start())
    wait_healthy(f"http://127.0.0.1:{ports['metrics']}/healthz", engine)
    wait_for_answer(engine)
    return engine


def wait_healthy(url: str, engine: RunningEngine) -> None:
    """Until /healthz answers 200: the port listens long before every part is up."""
    for _ in range(240):
        assert engine.process.poll() is None, f"milvus ended with {engine.process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.25)
    pytest.fail("milvus does not become healthy")


def starting_lite(folder: Path) -> RunningEngine:
    """A milvus-lite server that has just been started."""
    port = free_port()
    return RunningEngine(
        "milvus-lite-3.2.2", f"http://127.0.0.1:{port}", lambda: start_lite(folder, port), start_lite(folder, port)
    )
