"""Leader election on a `coordination.k8s.io/v1` Lease, so that of two replicas one works and one waits.

The algorithm and its times are client-go's (tools/leaderelection): who holds the lease renews it; who does not watches
its resourceVersion and takes it over when that has not moved for a lease's length *by its own monotonic clock*, so no
two clocks need to agree. Whoever cannot renew in time must stop at once: `LeadershipLostError` ends the process.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.errors import ApiError, ConflictError, ConnectionFailedError, NotFoundError
from hearth.kube.events import micro_time
from hearth.kube.resources import LEASE

log = logging.getLogger(__name__)


class LeadershipLostError(Exception):
    """The lease could not be renewed in time, or somebody else has it."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds."""

    duration: float = 15.0
    """How long a standby waits after the last renewal that it saw."""
    renew_deadline: float = 10.0
    """How long a leader goes on without a successful renewal."""
    retry: float = 2.0
    """Between tries to acquire or renew."""
    jitter: float = 1.2
    """A standby's retry is stretched by up to this factor on top."""


class LeaderElector:
    """One candidate for one lease."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self._api = api
        self._namespace = namespace
        self._name = name
        self._times = times or LeaseTimes()
        self._clock = clock
        self._lease: Json | None = None
        self._seen_version = ""
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self.is_leader = False

    @property
    def leader_beside(self) -> str | None:
        """Who else leads, as this candidate saw it last; None if nobody does or their lease has run out."""
        if self._lease is None or not self._is_held_by_another() or self._has_run_out():
            return None
        return str(self._lease["spec"]["holderIdentity"])

    async def acquire(self) -> None:
        """Waits until this candidate is the leader."""
        while not await self._try():
            stretch = 1.0 + self._times.jitter * random.random()  # noqa: S311 - spreads candidates in time
            await asyncio.sleep(self._times.retry * stretch)
        log.info("became the leader as %s", self.identity)

    async def hold(self) -> None:
        """Renews until cancelled; raises `LeadershipLostError`."""
        while True:
            await asyncio.sleep(self._times.retry)
            left = self._renewed_at + self._times.renew_deadline - self._clock()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    held = await self._try()
            except TimeoutError:
                held = False
            if not held and (
                self._is_held_by_another() or self._clock() >= self._renewed_at + self._times.renew_deadline
            ):
                self.is_leader = False
                raise LeadershipLostError(f"{self.identity} lost the lease {self._namespace}/{self._name}")

    async def release(self) -> None:
        """Gives the lease up, so that the next leader need not wait for it to run out."""
        if not self.is_leader:
            return
        self.is_leader = False
        try:
            # A renewal that was cut short may have been written or not: only the server knows.
            lease = self._lease or await self._api.get(LEASE, self._namespace, self._name)
            if (lease.get("spec") or {}).get("holderIdentity") != self.identity:
                return
            spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._api.replace(LEASE, {**lease, "spec": spec})
        except (ApiError, ConnectionFailedError) as error:
            log.warning("the lease could not be released: %s", error)

    async def _try(self) -> bool:
        """One try to acquire or renew; returns whether the lease is ours."""
        try:
            self.is_leader = await self._acquire_or_renew()
        except ConflictError:
            return False
        except (ApiError, ConnectionFailedError) as error:
            log.warning("lease %s/%s: %s", self._namespace, self._name, error)
            return False
        return self.is_leader

    async def _acquire_or_renew(self) -> bool:
        started = self._clock()
        if self.is_leader and self._lease is not None:
            # The lease as we wrote it: if somebody else has written since, this is a conflict, and the next try reads.
            lease, self._lease = self._lease, None
            await self._renew(lease, started)
            return True
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
        except NotFoundError:
            self._lease = await self._api.create(LEASE, self._body(self._spec(transitions=0)))
            self._renewed_at = started
            return True
        self._observe(lease)
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") not in (None, "", self.identity) and not self._has_run_out():
            return False
        await self._renew(lease, started)
        return True

    async def _renew(self, lease: Json, started: float) -> None:
        spec = lease.get("spec") or {}
        fresh = self._spec(**_transitions(spec, self.identity))
        self._observe(await self._api.replace(LEASE, {**lease, "spec": {**spec, **fresh}}))
        self._renewed_at = started

    def _observe(self, lease: Json) -> None:
        self._lease = lease
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen_version:
            self._seen_version, self._seen_at = version, self._clock()

    def _has_run_out(self) -> bool:
        return self._clock() - self._seen_at >= self._times.duration

    def _is_held_by_another(self) -> bool:
        holder = ((self._lease or {}).get("spec") or {}).get("holderIdentity")
        return holder not in (None, "", self.identity)

    def _spec(self, transitions: int, since: str | None = None) -> Json:
        now = micro_time(datetime.now(UTC))
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "acquireTime": since or now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _body(self, spec: Json) -> Json:
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }


def _transitions(spec: Json, identity: str) -> Json:
    count = int(spec.get("leaseTransitions") or 0)
    if spec.get("holderIdentity") == identity:
        return {"transitions": count, "since": spec.get("acquireTime")}
    return {"transitions": count + 1}
