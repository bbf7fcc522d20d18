"""Runs the gateway: JSON logs, and a stop that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from hearth_gateway.app import Gateway
from hearth_gateway.config import Config, read_config

BAD_CONFIGURATION = 64
PORT = 8000
KEYS_PATIENCE_SECONDS = 60.0
log = logging.getLogger("hearth.gateway")


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what was given as `extra`."""
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname}
        line["message"] = record.getMessage()
        line |= {k: v for k, v in vars(record).items() if k in ("request_id", "seconds", "user")}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class DrainingServer(uvicorn.Server):
    """A server that, told to stop, first lets clients and proxies go elsewhere, then finishes what it has."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._stopping: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Instead of stopping at once on a signal: drain."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._drain)
        yield

    def _drain(self) -> None:
        if self._stopping is not None:
            self.force_exit = True  # a second signal: now
            return
        self._stopping = asyncio.get_running_loop().create_task(self._settle())

    async def _settle(self) -> None:
        """Not ready from now on, and every answer asks its client to open a new connection."""
        log.info("draining: %s requests in flight", self._gateway.admission.in_flight)
        self._gateway.admission.draining = True
        await asyncio.sleep(self._gateway.config.settle_seconds)
        self.should_exit = True


def run() -> int:
    """Serves until told to stop. Exit codes: 0 done, 64 bad configuration."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # a failed search is told once, by the request's own line
    path = os.environ.get("HEARTH_CONFIG", "/etc/hearth/config.json")
    try:
        config = read_config(path)
    except (OSError, ValidationError) as error:
        return _refuse("BadConfiguration", f"{path}: {error}")
    gateway = Gateway(config)
    if not _wait_for_keys(gateway):
        return _refuse(
            "ApiKeysMissing",
            "the Secret that access.apiKeysSecretRef names does not exist or holds no key: create it with one entry "
            'per key, for example `kubectl create secret generic NAME --from-literal=me="$(openssl rand -hex 24)"`',
        )
    return _serve(gateway, config)


def _serve(gateway: Gateway, config: Config) -> int:
    settings = uvicorn.Config(
        gateway.app(),
        host=os.environ.get("HEARTH_HOST", "0.0.0.0"),  # noqa: S104 - a pod listens on its own address
        port=int(os.environ.get("HEARTH_PORT", str(PORT))),
        loop="uvloop",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(config.drain_seconds),
    )
    server = DrainingServer(settings, gateway)
    server.run()
    return 0


def _wait_for_keys(gateway: Gateway) -> bool:
    """A Secret may be created a moment after the service that names it."""
    deadline = time.monotonic() + float(os.environ.get("HEARTH_KEYS_PATIENCE", str(KEYS_PATIENCE_SECONDS)))
    while gateway.keys is not None and gateway.keys.empty:
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True


def _refuse(kind: str, message: str) -> int:
    error = {"error": {"class": kind, "message": message[:3000]}}
    with contextlib.suppress(OSError):
        Path(os.environ.get("HEARTH_TERMINATION_LOG", "/dev/termination-log")).write_text(json.dumps(error))
    log.error("%s", message)
    return BAD_CONFIGURATION
