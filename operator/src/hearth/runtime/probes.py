"""`/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

log = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds between two heartbeats of the event loop."""
LAG_LIMIT = 10.0
"""Seconds without a heartbeat after which the loop counts as stuck."""

Check = Callable[[], str | None]
"""Says what is wrong, or None."""


class LoopMonitor:
    """Notices when the event loop does not get round."""

    def __init__(self) -> None:
        self._beat_at = time.monotonic()
        self.worst = 0.0

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            self.worst = max(self.worst, now - self._beat_at - BEAT)
            self._beat_at = now

    def check(self) -> str | None:
        """A `Check`: what is wrong with the loop."""
        late = time.monotonic() - self._beat_at - BEAT
        return f"the event loop is {late:.0f} s behind" if late > LAG_LIMIT else None


class ProbeServer:
    """Serves probes and metrics over plain HTTP."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self.liveness: dict[str, Check] = {}
        self.readiness: dict[str, Check] = {}
        self._registry = registry
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Starts to listen."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        """Stops to listen."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self.liveness)

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.readiness)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: dict[str, Check]) -> web.Response:
    wrong = [f"{name}: {problem}" for name, check in checks.items() if (problem := check()) is not None]
    if wrong:
        return web.Response(status=503, text="\n".join(wrong) + "\n")
    return web.Response(text="ok\n")
