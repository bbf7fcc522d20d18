"""Performs a plan: writes the difference between what is desired and what is live, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from hearth.api.base import Json
from hearth.kube.api import CREATE_ONLY, Api
from hearth.kube.cache import KIND_LABEL, MANAGED_BY, MANAGER, NAME_LABEL, WatchCache
from hearth.kube.comparison import difference, digest, same_status
from hearth.kube.errors import ApiError, ConflictError, ForbiddenError, InvalidError, NotFoundError
from hearth.kube.problems import (
    Problem,
    child_refused,
    event_of,
    name_taken,
    status_refused,
    with_problems,
    without_plan,
)
from hearth.kube.resources import ResourceTable
from hearth.kube.store import version_of
from hearth.plan.world import Action, Delete, Event, ObjectKey, Plan, controller_of, key_of

log = logging.getLogger(__name__)

CHILDREN = "hearth/children"
STATUS = "hearth/status"
APPLIED_HASH = "hearth.dev/applied-hash"
ABOUT_THE_SERVER = frozenset({401, 409, 410, 429, 502, 503, 504})
"""Answers that say nothing about the object: the account, the cache's age or the server's load are their cause."""


@dataclass(frozen=True, slots=True)
class _Owed:
    """Events that are still to be told, if this status is on record."""

    status: Json
    events: tuple[Event, ...]


@dataclass(slots=True)
class Outcome:
    """What performing a plan came to."""

    writes: int = 0
    skipped: int = 0
    """Children that were already as desired."""
    problems: tuple[Problem, ...] = ()


class Executor:
    """Performs plans by server-side apply.

    Three rules keep it from harm. An object that is not in the cache is applied with "must not exist"; one that is,
    with its uid as precondition; and one whose controller is not our owner is never written at all.
    """

    def __init__(self, api: Api, table: ResourceTable, cache: WatchCache, clock: Callable[[], datetime]) -> None:
        self._api = api
        self._table = table
        self._cache = cache
        self._clock = clock
        self._taken: dict[ObjectKey, ObjectKey] = {}
        """Names that were somebody else's when an owner's child needed them, with that owner."""
        self._owed: dict[ObjectKey, _Owed] = {}
        """What passes that broke off could not tell. No later pass would: their status may be on record already."""

    async def execute(self, owner: Json, plan: Plan) -> Outcome:
        """Writes children and status. Raises `ApiError` for what another try may mend and no user can."""
        outcome = Outcome()
        if plan.status_first:
            if not await self._record(owner, plan.status, plan.events, outcome):
                return outcome
            if outcome.writes:
                self._owe(key_of(owner), plan.status, plan.events)
        problems = await self._perform_all(owner, plan, outcome)
        self._owed.pop(key_of(owner), None)
        status = with_problems(plan.status, owner, problems, self._clock()) if problems else plan.status
        outcome.problems = tuple(problems)
        if problems or not plan.status_first:
            await self._record(owner, status, events_of(plan, problems), outcome)
        return outcome

    def owed(self, key: ObjectKey) -> tuple[Event, ...]:
        """The events of a pass that broke off, where its status turns out to be on record. They are given out once."""
        owed = self._owed.pop(key, None)
        owner = self._cache.store.get(key) if owed is not None else None
        if owed is None or owner is None or not same_status(owed.status, owner.get("status") or {}):
            return ()
        return owed.events

    def _owe(self, key: ObjectKey, status: Json, events: tuple[Event, ...]) -> None:
        if events:
            others = {other: owed for other, owed in self._owed.items() if other in self._cache.store}
            self._owed = others | {key: _Owed(status, events)}

    async def _perform_all(self, owner: Json, plan: Plan, outcome: Outcome) -> list[Problem]:
        problems: list[Problem] = []
        for action in plan.actions:
            try:
                problem = await self._perform(owner, action, outcome)
            except ApiError as error:
                if error.code in ABOUT_THE_SERVER:
                    raise
                # Such as a webhook that is down. The next child would take as long to be refused, so it is not tried.
                return [*problems, child_refused(_named(owner, action), error.message)]
            problems += [problem] if problem is not None else []
        return problems

    async def _record(self, owner: Json, status: Json, events: tuple[Event, ...], outcome: Outcome) -> bool:
        """Writes the status, and returns whether it is on record.

        One that its own CRD refuses is a bug; the status that stands tells of it. Without that, the resource would say
        nothing more until the cause of the status is gone.
        """
        try:
            outcome.writes += await self.write_status(owner, status, events)
        except InvalidError as error:
            refused = status_refused(error.message)
            standing = without_plan(owner, refused, self._clock())
            outcome.writes += await self.write_status(owner, standing, (event_of(refused),))
            outcome.problems += (refused,)
            return False
        return True

    async def write_status(self, owner: Json, status: Json, events: tuple[Event, ...] = ()) -> int:
        """Writes the status if it differs from the live one; returns the number of writes.

        The events are what to tell once it is on record: they are owed if no clear answer comes.
        """
        key, uid, store = key_of(owner), owner["metadata"]["uid"], self._cache.store
        desired = digest(status)
        if store.uid(key) != uid or store.is_settled(key, desired):
            return 0
        live = store.get(key)
        if live is None or same_status(status, live.get("status") or {}):
            store.settle(key, desired)
            return 0
        body = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            # The status subresource of a custom resource does not look at the uid, but it does at the version.
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "resourceVersion": live["metadata"]["resourceVersion"],
            },
            "status": status,
        }
        self._owe(key, status, events)
        try:
            written = await self._api.apply_status(self._table.of(key.kind), body, STATUS)
        except NotFoundError:
            # The owner is gone. Its deletion may be on its way through the watch, or lost in a gap of it.
            self._cache.remove(key, uid)
            return 0
        self._owed.pop(key, None)
        told = written.get("status") or {}
        self._settle(key, desired, written, None if same_status(status, told) else ".status")
        return 1

    async def _perform(self, owner: Json, action: Action, outcome: Outcome) -> Problem | None:
        if isinstance(action, Delete):
            outcome.writes += await self._delete(owner, action)
            return None
        desired = stamped(owner, action.obj, owned=action.owned)
        key = key_of(desired)
        if self._cache.store.is_settled(key, _hash_of(desired)):
            outcome.skipped += 1
            return None
        live = await self._live(key)
        try:
            if live is None:
                live = await self._create(desired)
                if live is None:
                    outcome.writes += 1
                    return None
            return await self._update(owner, desired, live, outcome)
        except (InvalidError, ForbiddenError) as error:
            if _is_uid_mismatch(error):
                raise ConflictError(409, "Conflict", error.message) from error
            return child_refused(key, error.message)

    async def _live(self, key: ObjectKey) -> Json | None:
        live = self._cache.store.get(key)
        if live is not None or key not in self._taken:
            return live
        # The name was somebody else's the last time. Asking is cheaper than being refused again.
        try:
            return await self._api.get(self._table.of(key.kind), key.namespace, key.name)
        except NotFoundError:
            self._taken.pop(key, None)
            return None

    async def _create(self, desired: Json) -> Json | None:
        """Creates the object; returns the one that has the name already, if so."""
        key = key_of(desired)
        resource = self._table.of(key.kind)
        body = {**desired, "metadata": {**desired["metadata"], "resourceVersion": CREATE_ONLY}}
        try:
            written = await self._api.apply(resource, body, CHILDREN)
        except ConflictError as conflict:
            try:
                return await self._api.get(resource, key.namespace, key.name)
            except NotFoundError:
                raise conflict from None  # it was not about the name: a quota's counter, or the name is free by now
        self._settle(key, _hash_of(desired), written, difference(desired, written))
        return None

    async def _update(self, owner: Json, desired: Json, live: Json, outcome: Outcome) -> Problem | None:
        key, controller = key_of(desired), controller_of(live)
        if _is_of_a_former_owner(owner, live):
            # The garbage collector has yet to come to it. What the cache knows, a watch or a list tells the end of.
            self._cache.put_own(live)
            return None
        if not (_is_controlled_by(owner, live) or _is_ownerless_child_of(owner, live)):
            known = self._taken.items()
            self._taken = {child: of for child, of in known if of in self._cache.store} | {key: key_of(owner)}
            return name_taken(key, key_of(owner), controller)
        self._taken.pop(key, None)
        where = difference(desired, live)
        if where is None:
            self._cache.store.settle(key, _hash_of(desired))
            outcome.skipped += 1
            return None
        if live["metadata"].get("deletionTimestamp"):
            return None  # it comes back under the same name once it is gone; the watch will tell
        log.debug("applying %s %s: %s differs", key.kind, key.name, where)
        body = {**desired, "metadata": {**desired["metadata"], "uid": live["metadata"]["uid"]}}
        written = await self._api.apply(self._table.of(key.kind), body, CHILDREN)
        outcome.writes += 1
        self._settle(key, _hash_of(desired), written, difference(desired, written))
        return None

    async def _delete(self, owner: Json, action: Delete) -> int:
        live = self._cache.store.get(action.key)
        if live is None or live["metadata"]["uid"] != action.uid or live["metadata"].get("deletionTimestamp"):
            return 0
        controller = controller_of(live)
        if controller is None or controller["uid"] != owner["metadata"]["uid"]:
            return 0
        key = action.key
        resource = self._table.of(key.kind)
        await self._api.delete(resource, key.namespace, key.name, action.uid, action.propagation)
        return 1

    def _settle(self, key: ObjectKey, desired: str, written: Json, where: str | None) -> None:
        """Reads our own write back into the cache, and takes it for done even if the server keeps it otherwise."""
        self._cache.put_own(written)
        if self._cache.store.version(key) == version_of(written):
            self._cache.store.settle(key, desired)
        if where is not None:
            log.warning("%s %s was applied and yet differs at %s; left so", key.kind, key.name, where)


def events_of(plan: Plan, problems: Sequence[Problem]) -> tuple[Event, ...]:
    """What performing a plan gives cause to tell: the problems, where there are any."""
    return tuple(event_of(problem) for problem in problems) or plan.events


def stamped(owner: Json, obj: Json, *, owned: bool = True) -> Json:
    """A child as it is applied: in the owner's namespace, labelled, and with the digest of itself.

    Owned: it is deleted with its owner. Otherwise it stays, and is known again by its labels.
    """
    meta = obj["metadata"]
    child: Json = {
        **obj,
        "metadata": {
            **meta,
            "namespace": owner["metadata"]["namespace"],
            "labels": {
                **meta.get("labels", {}),
                MANAGED_BY: MANAGER,
                KIND_LABEL: owner["kind"],
                NAME_LABEL: owner["metadata"]["name"],
            },
        },
    }
    if owned:
        child["metadata"]["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    child["metadata"]["annotations"] = {**meta.get("annotations", {}), APPLIED_HASH: digest(child)}
    return child


def _is_controlled_by(owner: Json, live: Json) -> bool:
    controller = controller_of(live)
    return controller is not None and controller["uid"] == owner["metadata"]["uid"]


def _is_of_a_former_owner(owner: Json, live: Json) -> bool:
    """Whether a child was made for a resource that was deleted and made again under the same name, as this owner.

    One that has lost its labels does not count: no watch would tell when it is gone.
    """
    controller = controller_of(live)
    if controller is None or controller["uid"] == owner["metadata"]["uid"] or not _is_labelled_for(owner, live):
        return False
    return (controller["kind"], controller["name"]) == (owner["kind"], owner["metadata"]["name"])


def _is_ownerless_child_of(owner: Json, live: Json) -> bool:
    """Whether a child that outlives its owners was made for one of this kind and name."""
    return controller_of(live) is None and _is_labelled_for(owner, live)


def _is_labelled_for(owner: Json, live: Json) -> bool:
    labels = live["metadata"].get("labels", {})
    marks = (labels.get(MANAGED_BY), labels.get(KIND_LABEL), labels.get(NAME_LABEL))
    return marks == (MANAGER, owner["kind"], owner["metadata"]["name"])


def _named(owner: Json, action: Action) -> ObjectKey:
    """Which object an action is about."""
    if isinstance(action, Delete):
        return action.key
    return ObjectKey(action.obj["kind"], owner["metadata"]["namespace"], action.obj["metadata"]["name"])


def _hash_of(desired: Json) -> str:
    found: str = desired["metadata"]["annotations"][APPLIED_HASH]
    return found


def _is_uid_mismatch(error: Exception) -> bool:
    # The server answers a wrong uid precondition with 422 "metadata.uid: Invalid value: … field is immutable".
    return isinstance(error, InvalidError) and "metadata.uid" in error.message
