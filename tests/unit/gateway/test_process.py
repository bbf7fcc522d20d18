"""The gateway as a process: how it starts, and that it loses nothing when it is told to stop."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """One gateway process on a free port."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.port = free_port()
        self.log = folder / "termination-log"
        self.running: asyncio.subprocess.Process | None = None
        (folder / "config.json").write_text(json.dumps(config))
        self.environment = os.environ | {
            "HEARTH_CONFIG": str(folder / "config.json"),
            "HEARTH_HOST": "127.0.0.1",
            "HEARTH_PORT": str(self.port),
            "HEARTH_TERMINATION_LOG": str(self.log),
            "HEARTH_KEYS_PATIENCE": "0",
        }

    async def start(self) -> asyncio.subprocess.Process:
        self.running = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hearth_gateway", env=self.environment, stdout=asyncio.subprocess.DEVNULL
        )
        return self.running

    async def ready(self, client: httpx.AsyncClient) -> None:
        for _ in range(300):
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.ConnectError:
                await asyncio.sleep(0.1)
        raise AssertionError("the gateway did not become ready in 30 s")


@pytest.fixture
async def process(tmp_path: Path, engine: Any) -> AsyncIterator[Process]:
    config = {
        "service": "law/court",
        "servedName": "court",
        "upstream": f"http://127.0.0.1:{engine.port}",
        "settleSeconds": 0.3,
        "drainSeconds": 10,
    }
    made = Process(tmp_path, config)
    yield made
    if made.running is not None and made.running.returncode is None:
        made.running.kill()
        await made.running.wait()


async def test_a_request_in_flight_and_one_that_comes_while_settling_are_answered_after_sigterm(
    process: Process, engine: Any
) -> None:
    engine.answer, engine.word_seconds = "one two three four five six", 0.2
    running = await process.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=20) as client:
        await process.ready(client)
        body = {"messages": [{"role": "user", "content": "Count."}], "stream": True}
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            chunks = response.aiter_text()
            text = await anext(chunks)
            running.send_signal(signal.SIGTERM)
            late = await client.post("/v1/chat/completions", json=body | {"stream": False})
            text += "".join([chunk async for chunk in chunks])
    assert "six" in text
    assert text.endswith("data: [DONE]\n\n")
    assert late.status_code == 200
    assert late.headers["connection"] == "close"
    assert await asyncio.wait_for(running.wait(), 10) == 0


async def test_a_bad_configuration_is_told_in_the_termination_log(process: Process, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"service": "law/court"}')
    running = await process.start()
    assert await asyncio.wait_for(running.wait(), 30) == 64
    assert json.loads(process.log.read_text())["error"]["class"] == "BadConfiguration"


async def test_missing_keys_are_told_in_the_termination_log(process: Process, tmp_path: Path) -> None:
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"keysDirectory": str(tmp_path / "none")}))
    running = await process.start()
    assert await asyncio.wait_for(running.wait(), 30) == 64
    error = json.loads(process.log.read_text())["error"]
    assert error["class"] == "ApiKeysMissing"
    assert "kubectl create secret" in error["message"]
