"""The operator's life: check, wait to lead, watch, work, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hearth.kube.cache import WatchCache
from hearth.kube.credentials import Credentials
from hearth.kube.events import Recorder
from hearth.kube.executor import Executor
from hearth.kube.http_api import HttpApi
from hearth.kube.lease import LeaderElector, LeadershipLostError, LeaseTimes
from hearth.kube.lookups import Lookups
from hearth.kube.queue import WorkQueue
from hearth.kube.rbac import LEASE_NAME
from hearth.kube.resources import ResourceTable, hearth_resource
from hearth.plan.settings import Settings
from hearth.plan.world import KindPlan
from hearth.runtime.definitions import await_definitions
from hearth.runtime.metrics import Metrics
from hearth.runtime.probes import LoopMonitor, ProbeServer
from hearth.runtime.progress_endpoint import ProgressEndpoint, address_towards
from hearth.runtime.reconciler import Reconciler
from hearth.runtime.shell import WatchShell
from hearth.runtime.standby import Standby
from hearth.runtime.wake import Waker
from hearth.runtime.watches import Watches
from hearth.runtime.workers import Workers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How one replica runs."""

    identity: str
    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; empty: all."""
    leader_election: bool = True
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    workers: int = 8
    probe_host: str = "127.0.0.1"
    probe_port: int = 8080
    progress_address: str | None = None
    """Address at which pods reach this replica; None: this machine's address towards the API server."""
    grace: float = 20.0
    """Seconds for passes under way when the operator is asked to stop."""


class Operator:
    """One replica."""

    def __init__(
        self,
        api: HttpApi,
        credentials: Credentials,
        settings: Settings,
        kinds: Sequence[KindPlan],
        options: Options,
        metrics: Metrics,
    ) -> None:
        self._api = api
        self._credentials = credentials
        self._kinds = tuple(kinds)
        self._custom = tuple(hearth_resource(kind.kind, kind.plural) for kind in kinds)
        self._options = options
        self._stopping = asyncio.Event()
        self._monitor = LoopMonitor()
        self._probes = ProbeServer(metrics.registry, options.probe_host, options.probe_port)
        self._elector = LeaderElector(api, settings.namespace, LEASE_NAME, options.identity, options.lease_times)
        self.queue = WorkQueue()
        self.cache = WatchCache(self._kinds, settings, Waker(self.queue))
        table = ResourceTable(self._custom)
        lookups = Lookups(api, table, self.cache)
        executor = Executor(api, table, self.cache, _now)
        recorder = Recorder(api, options.identity, _now)
        reconciler = Reconciler(self.cache, lookups, executor, recorder, _now)
        self.watches = Watches(api, self._custom, options.namespaces, self.cache, lookups)
        address = options.progress_address or address_towards(credentials.server)
        self._progress = ProgressEndpoint(api, credentials, self.cache, self.queue.add, address)
        self._workers = Workers(self.queue, reconciler, metrics, options.workers)
        self._leading = not options.leader_election
        metrics.show(self.queue.state, lambda: self._leading, self.cache)

    def stop(self) -> None:
        """Asks the operator to finish what it is doing and end."""
        self._stopping.set()

    async def run(self) -> None:
        """Runs until `stop`, SIGTERM or SIGINT.

        Raises `MissingCrdsError` before anything is written, and `LeadershipLostError` when another replica must be
        taken to be at work: the process should end at once.
        """
        await await_definitions(self._api, self._custom)
        self._handle_signals()
        self._probes.liveness["loop"] = self._monitor.check
        await self._probes.start()
        monitor = asyncio.create_task(self._monitor.run(), name="loop-monitor")
        try:
            if await self._wait_to_lead():
                await self._lead()
        finally:
            monitor.cancel()
            await self._probes.stop()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def _wait_to_lead(self) -> bool:
        """Waits until this replica leads; False if it is asked to stop before."""
        if not self._options.leader_election:
            return True
        log.info("waiting to become the leader")
        self._probes.readiness["release"] = Standby(self._elector).check
        acquired = asyncio.create_task(self._elector.acquire(), name="acquire")
        if await self._first_of(acquired) is acquired:
            self._leading = True
            self._probes.readiness.pop("release")
            await acquired
            return True
        return False

    async def _lead(self) -> None:
        self._probes.readiness["start"] = lambda: "the cache is not filled yet"
        shell = WatchShell(self._credentials, self._custom, self._options.namespaces, self.cache)
        holding = self._spawn(self._elector.hold(), "hold-lease") if self._options.leader_election else None
        watching: asyncio.Task[None] | None = None
        try:
            starting = asyncio.create_task(self._start(), name="fill-cache")
            if await self._first_of(starting, holding) is not starting:
                starting.cancel()
                return
            await starting
            watching = asyncio.create_task(shell.run(), name="kopf")
            ready = asyncio.create_task(_until(shell.ready), name="kopf-ready")
            if await self._first_of(ready, watching, holding) is not ready:
                ready.cancel()
                return
            self._handle_signals()  # kopf has put its own in place
            self._workers.start()
            self._probes.readiness.pop("start", None)
            self._probes.liveness["workers"] = self._check_workers
            self._probes.liveness["watches"] = lambda: None if self.watches.alive else "a watch has ended"
            log.info("at work with %d workers", self._options.workers)
            await self._first_of(watching, holding)
        finally:
            await self._stop_leading(shell, watching, holding)

    async def _start(self) -> None:
        # No plan is made before both are ready; the certificate is one of its inputs.
        await asyncio.gather(self._progress.start(), self.watches.start())

    async def _stop_leading(
        self, shell: WatchShell, watching: asyncio.Task[None] | None, holding: asyncio.Task[None] | None
    ) -> None:
        lost = await self._finish_passes(holding)
        await self._progress.stop()
        await self.watches.stop()
        shell.stop()
        if holding is not None:
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError, LeadershipLostError):
                await holding
            await self._elector.release()
        self._leading = False
        if watching is not None:
            await watching
        if lost:
            raise LeadershipLostError(f"{self._options.identity} is no longer the leader")

    async def _finish_passes(self, holding: asyncio.Task[None] | None) -> bool:
        """Lets the passes under way finish for as long as the lease is held; returns whether it was lost."""
        log.info("stopping")
        finishing = self._spawn(self._workers.stop(self._options.grace), "finish-passes")
        awaited = [finishing] if holding is None else [finishing, holding]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        lost = holding is not None and holding.done()
        if lost:
            log.info("leadership is lost, stopping at once")
            await self._workers.stop(0.0)
        await finishing
        return lost

    def _check_workers(self) -> str | None:
        alive = self._workers.alive
        return None if alive == self._options.workers else f"{alive} of {self._options.workers} workers run"

    async def _first_of(self, *tasks: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """The first task to end, or None if the operator is asked to stop before."""
        stopping = asyncio.create_task(self._stopping.wait())
        awaited = [task for task in tasks if task is not None]
        try:
            done, _ = await asyncio.wait([stopping, *awaited], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        return next((task for task in awaited if task in done), None)

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.create_task(coroutine, name=name)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _now() -> datetime:
    return datetime.now(UTC)
