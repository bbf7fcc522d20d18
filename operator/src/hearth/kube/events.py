"""Events about Hearth resources, in `events.k8s.io/v1`, with repetitions told as a series.

Following sig-architecture/api-conventions.md, "Events": accumulate repeated events in the client.
"""

from __future__ import annotations

import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.errors import ApiError, ConnectionFailedError, NotFoundError
from hearth.kube.resources import EVENT
from hearth.plan.world import Event

log = logging.getLogger(__name__)

CONTROLLER = "hearth.dev/operator"
SERIES_ENDS = timedelta(minutes=10)
"""An event that was not repeated for so long begins anew."""
SERIES_UPDATE = timedelta(minutes=1)
"""Least time between two updates of one series."""
REMEMBERED = 1000
NOTE_LIMIT = 1024
"""Longest note that the API server accepts."""


@dataclass(slots=True)
class _Told:
    name: str
    count: int
    last: datetime
    written: datetime


class Recorder:
    """Writes events. A failure to write one is logged and never more than that."""

    def __init__(self, api: Api, instance: str, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._instance = instance
        self._clock = clock
        self._told: OrderedDict[tuple[str, str, str, str], _Told] = OrderedDict()

    async def tell(self, owner: Json, events: Sequence[Event]) -> None:
        """Tells each event about the owner."""
        for event in events:
            try:
                await self._tell(owner, event)
            except (ApiError, ConnectionFailedError) as error:
                log.warning("the event %s could not be written: %s", event.reason, error)

    async def _tell(self, owner: Json, event: Event) -> None:
        now = self._clock()
        key = (owner["metadata"]["uid"], event.type, event.reason, event.note)
        known = self._told.get(key)
        if known is not None and now - known.last < SERIES_ENDS:
            known.count += 1
            known.last = now
            if now - known.written >= SERIES_UPDATE and not await self._extend(owner, known):
                del self._told[key]
            return
        created = await self._api.create(EVENT, self._body(owner, event, now))
        self._told[key] = _Told(created["metadata"]["name"], 1, now, now)
        self._told.move_to_end(key)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    async def _extend(self, owner: Json, known: _Told) -> bool:
        series = {"series": {"count": known.count, "lastObservedTime": micro_time(known.last)}}
        try:
            await self._api.merge(EVENT, owner["metadata"]["namespace"], known.name, series)
        except NotFoundError:
            return False  # the server forgets events after an hour
        known.written = known.last
        return True

    def _body(self, owner: Json, event: Event, now: datetime) -> Json:
        meta = owner["metadata"]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": f"{meta['name'][:220]}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
            "eventTime": micro_time(now),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": event.action,
            "reason": event.reason,
            "note": event.note.encode()[:NOTE_LIMIT].decode(errors="ignore"),
            "type": event.type,
            "regarding": {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
        }


def micro_time(moment: datetime) -> str:
    """A metav1.MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
