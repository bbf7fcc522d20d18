"""Probes, metrics and logs: what the operator says of itself."""

import json
import logging
import time
from io import StringIO

import aiohttp
import pytest
from hearth.kube.cache import WatchCache
from hearth.kube.queue import QueueState
from hearth.plan.world import ObjectKey
from hearth.runtime.logs import JsonFormatter, TextFormatter, set_up
from hearth.runtime.metrics import Metrics
from hearth.runtime.probes import LoopMonitor, ProbeServer
from widget import KIND_PLAN, SETTINGS, widget


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_probe_fails_with_the_reason(unused_tcp_port: int) -> None:
    server = ProbeServer(Metrics().registry, "127.0.0.1", unused_tcp_port)
    await server.start()
    try:
        assert await ask(unused_tcp_port, "/livez") == (200, "ok\n")
        server.liveness["workers"] = lambda: "7 of 8 workers run"
        assert await ask(unused_tcp_port, "/livez") == (503, "workers: 7 of 8 workers run\n")
        assert await ask(unused_tcp_port, "/readyz") == (200, "ok\n")
    finally:
        await server.stop()


async def test_metrics_tell_of_work_requests_and_queue(unused_tcp_port: int) -> None:
    metrics = Metrics()
    cache = WatchCache([KIND_PLAN], SETTINGS, lambda _key, _now: None)
    for version in ("1", "2"):
        obj = widget("w")
        cache.put({**obj, "metadata": {**obj["metadata"], "uid": "u", "resourceVersion": version}})
    metrics.reconciled("LLMService", 0.2, None)
    metrics.reconciled("LLMService", 0.2, ValueError("x"))
    metrics.skipped_writes("LLMService", 3)
    metrics.count_request(verb="apply", resource="deployments", code=201, seconds=0.01)
    metrics.show(lambda: QueueState(4, 1, 2, 1.5), lambda: True, cache)
    server = ProbeServer(metrics.registry, "127.0.0.1", unused_tcp_port)
    await server.start()
    try:
        _, text = await ask(unused_tcp_port, "/metrics")
    finally:
        await server.stop()
    lines = text.splitlines()
    for line in (
        'hearth_reconcile_seconds_count{kind="LLMService"} 2.0',
        'hearth_reconcile_errors_total{error="ValueError",kind="LLMService"} 1.0',
        'hearth_writes_skipped_total{kind="LLMService"} 3.0',
        'hearth_api_requests_total{code="201",resource="deployments",verb="apply"} 1.0',
        "hearth_queue_depth 4.0",
        "hearth_queue_oldest_seconds 1.5",
        "hearth_leader 1.0",
        "hearth_cached_objects 1.0",
        'hearth_objects_seen_total{change="added",kind="Widget"} 1.0',
        'hearth_objects_seen_total{change="unchanged",kind="Widget"} 1.0',
    ):
        assert line in lines


def test_a_loop_that_does_not_get_round_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = LoopMonitor()
    assert monitor.check() is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 30)
    assert monitor.check() == "the event loop is 29 s behind"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("hearth.x", logging.WARNING, "f.py", 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_a_log_line_is_json_and_names_its_object() -> None:
    line = json.loads(JsonFormatter().format(record("refused", object=ObjectKey("LLMService", "team", "chat"))))
    assert line["object"] == {"kind": "LLMService", "namespace": "team", "name": "chat"}
    assert (line["level"], line["message"], line["logger"]) == ("warning", "refused", "hearth.x")


def test_a_log_line_for_people_names_its_object_too() -> None:
    text = TextFormatter().format(record("refused", object=ObjectKey("LLMService", "team", "chat")))
    assert text.endswith("WARNING LLMService team/chat: refused")


def test_exceptions_are_part_of_the_line() -> None:
    stream = StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        set_up("info", as_json=True, stream=stream)
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("hearth.test").exception("it broke")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    line = json.loads(stream.getvalue())
    assert "ValueError: boom" in line["exception"]
