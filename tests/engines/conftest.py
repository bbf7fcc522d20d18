"""Real engines on loopback: Milvus 2.3.5 (the C++ server) and milvus-lite 3.2.2, each a process of its own."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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

    def restart(self) -> None:
        """As after a node lost power."""
        self.stop(signal.SIGKILL)
        self.process = self.start()
        wait_for_answer(self)

    def stop(self, by: signal.Signals = signal.SIGINT) -> None:
        """Ends the process and waits for its end."""
        self.process.send_signal(by)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
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


def start_milvus(server: Path, folder: Path, ports: dict[str, int]) -> subprocess.Popen[bytes]:
    """`milvus run standalone`, set up by its environment as the operator does it, every port its own."""
    folder.mkdir(parents=True, exist_ok=True)
    client, peer = f"http://127.0.0.1:{ports['etcd']}", f"http://127.0.0.1:{ports['peer']}"
    (folder / "etcd.yaml").write_text(
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\nlisten-peer-urls: {peer}\n"
        f"initial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n",
        encoding="utf-8",
    )
    environment = os.environ | {
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


def running_lite(folder: Path) -> RunningEngine:
    """A milvus-lite server, ready to answer."""
    port = free_port()
    engine = RunningEngine(
        "milvus-lite-3.2.2", f"http://127.0.0.1:{port}", lambda: start_lite(folder, port), start_lite(folder, port)
    )
    wait_for_answer(engine)
    return engine


@pytest.fixture
def lite_server(tmp_path: Path) -> Iterator[RunningEngine]:
    """milvus-lite: BM25, hybrid search, several vectors per row.

    A new one for each test: it starts in seconds, and dropping what another test left can block for a minute while it
    still builds the index of it.
    """
    engine = running_lite(tmp_path / "lite" / "data")
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def started_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """Milvus 2.3.5: dense vectors only. One for the whole run: it takes a while to start."""
    root = tmp_path_factory.mktemp("milvus")
    engine = running_milvus(root / "data", root / "server")
    yield engine
    engine.stop()


@pytest.fixture
def milvus_server(started_milvus: RunningEngine) -> RunningEngine:
    """The running Milvus, empty."""
    client = started_milvus.client()
    for collection in client.list_collections():
        for alias in client.list_aliases(collection).get("aliases", []):
            client.drop_alias(alias)
        client.drop_collection(collection)
    return started_milvus


@pytest.fixture(params=["lite_server", "milvus_server"])
def engine(request: pytest.FixtureRequest) -> RunningEngine:
    """Each engine in turn, empty."""
    running: RunningEngine = request.getfixturevalue(request.param)
    return running


@dataclass
class FakeEmbedder:
    """An OpenAI-compatible embedding endpoint whose vectors depend on words alone: equal words, equal vectors."""

    dimension: int = 32
    url: str = ""
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """HTTP status codes that the next embedding requests get instead of an answer."""
    fail_after: int | None = None
    """Texts after which every request gets 503."""
    longest: int = 256

    def vector(self, text: str) -> list[float]:
        """A bag of words, each word a fixed random direction."""
        total = [0.0] * self.dimension
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.shake_128(word.encode()).digest(self.dimension)
            total = [t + byte - 127.5 for t, byte in zip(total, digest, strict=True)]
        norm = sum(t * t for t in total) ** 0.5 or 1.0
        return [t / norm for t in total]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of one request."""
        if path == "/tokenize":
            extra = 2 if body["add_special_tokens"] else 0
            return 200, {
                "count": len(re.findall(r"\w+|[^\w\s]", body["prompt"])) + extra,
                "max_model_len": self.longest,
            }
        if self.failures:
            return self.failures.pop(0), {"error": "not now"}
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            return 503, {"error": "gone"}
        self.asked += body["input"]
        data = [{"index": i, "embedding": self.vector(text)} for i, text in enumerate(body["input"])]
        return 200, {"data": data}


@pytest.fixture
def embedder() -> Iterator[FakeEmbedder]:
    """A fresh embedding endpoint on loopback."""
    fake = FakeEmbedder()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, reply = fake.answer(self.path, body)
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    yield fake
    server.shutdown()
    server.server_close()
