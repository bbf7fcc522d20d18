"""One pass: when to look again, what is told, and that one resource never stops the others."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

import kopf
import pytest
from fake_api import FakeApi
from harness import Machine
from hearth.api.base import Json
from hearth.kube.errors import ApiError, ConflictError, ConnectionFailedError, ForbiddenError
from hearth.kube.queue import REST, WorkQueue
from hearth.kube.resources import Resource
from hearth.plan.world import Apply, Event, KindPlan, ObjectKey, Plan, World
from hearth.runtime.shell import quiet_settings
from hearth.runtime.wake import Waker
from widget import KIND_PLAN, config_map, needs, plan, refers_to, widget, widget_key


def events(api: FakeApi) -> list[ObjectKey]:
    return [key for key in api.objects if key.kind == "Event"]


async def test_a_plan_that_asks_to_look_again_is_run_again_unasked() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", configFrom="missing"))
    await machine.relist()
    await machine.settle()
    due = machine.queue.next_due()
    assert due is not None
    assert 0 < due - machine.clock.seconds <= 30


async def test_events_are_told_with_a_change_and_not_again_at_rest() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", configFrom="missing"))
    await machine.relist()
    await machine.settle()
    assert len(events(machine.api)) == 1
    machine.api.writes.clear()
    for _ in range(3):
        machine.clock.seconds += 40
        await machine.settle()
    assert machine.api.writes == []


def lose_an_answer(api: FakeApi, error: Exception, *, is_written: bool = True) -> None:
    """Has the first write of a status get no answer but this; it is on record all the same, or not."""
    apply_status, once = api.apply_status, iter([True])

    async def lost(resource: Resource, obj: Json, manager: str) -> Json:
        if not next(once, False):
            return await apply_status(resource, obj, manager)
        if is_written:
            await apply_status(resource, obj, manager)
        raise error

    api.apply_status = lost


LOST = [
    ConflictError(409, "Conflict", "the object has been modified"),  # to the second try of the same request
    ConnectionFailedError("connection reset"),
    ApiError(504, "Timeout", "request did not complete"),
]


def transition_plan(world: World, now: datetime) -> Plan:
    """Tells its events with the change that they are about, as the real plans do."""
    made = plan(world, now)
    before = {c["type"]: c["reason"] for c in world.owner["status"].get("conditions", ())}
    after = {c["type"]: c["reason"] for c in made.status["conditions"]}
    return replace(made, events=made.events if before.get("Ready") != after["Ready"] else ())


TRANSITIONS = KindPlan("Widget", "widgets", needs, refers_to, transition_plan)


@pytest.mark.parametrize("error", LOST)
@pytest.mark.parametrize("is_written", [True, False])
async def test_an_event_is_told_once_though_the_answer_to_the_write_of_its_status_was_lost(
    error: Exception, is_written: bool
) -> None:
    machine = Machine(FakeApi(), [TRANSITIONS])
    machine.api.put(widget("w", configFrom="missing"))
    await machine.relist()
    lose_an_answer(machine.api, error, is_written=is_written)
    await machine.workers.work_on(widget_key("w"))
    assert events(machine.api) == []
    await machine.converge()
    await machine.converge()
    assert [machine.api.live(key)["reason"] for key in events(machine.api)] == ["Waiting"]


async def test_an_event_is_not_told_of_a_status_that_never_came_on_record() -> None:
    machine = Machine(FakeApi(), [TRANSITIONS])
    machine.api.put(widget("w", configFrom="late"))
    await machine.relist()
    lose_an_answer(machine.api, ConnectionFailedError("connection reset"), is_written=False)
    await machine.workers.work_on(widget_key("w"))
    machine.api.put(config_map("late", "rows") | {"metadata": {"name": "late", "namespace": "default"}})
    await machine.converge()
    assert {c["type"]: c["reason"] for c in machine.live("Widget", "w")["status"]["conditions"]}["Ready"] == "Starting"
    assert events(machine.api) == []


async def test_a_refused_child_is_told_of_though_the_answer_to_the_write_of_the_status_was_lost() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w"))
    await machine.relist()

    def policy(verb: str, key: ObjectKey) -> None:
        if key.kind == "Deployment":
            raise ForbiddenError(403, "Forbidden", "no Deployments here")

    machine.api.before_write = policy
    lose_an_answer(machine.api, LOST[0])
    for _ in range(2):
        await machine.workers.work_on(widget_key("w"))
        await machine.resync()
    await machine.workers.work_on(widget_key("w"))
    assert [machine.api.live(key)["reason"] for key in events(machine.api)] == ["ChildRefused"]


async def test_an_event_is_told_though_a_child_could_not_be_written_after_its_status() -> None:
    def first(world: World, now: datetime) -> Plan:
        status = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "False", "reason": "Failed"}]}
        told = () if world.owner["status"] == status else (Event("Warning", "Failed", "it failed"),)
        return Plan(status, (Apply(config_map("w", "hello")),), told, status_first=True)

    machine = Machine(FakeApi(), [KindPlan("Widget", "widgets", needs, refers_to, first)])
    machine.api.put(widget("w"))
    await machine.relist()
    once = iter([True])

    def busy(verb: str, key: ObjectKey) -> None:
        if key.kind == "ConfigMap" and next(once, False):
            raise ApiError(503, "ServiceUnavailable", "no leader")

    machine.api.before_write = busy
    await machine.settle()
    assert [machine.api.live(key)["reason"] for key in events(machine.api)] == ["Failed"]


def changed_while_read(machine: Machine, change: Callable[[Json], object]) -> Callable[..., Awaitable[Json]]:
    """Reads during the first of which the Widget changes, as a watch tells at once."""
    get, once = machine.api.get, iter([True])

    async def read(resource: Resource, namespace: str, name: str) -> Json:
        if next(once, False):
            machine.cache.put(machine.api.edit(widget_key("w"), change))
        return await get(resource, namespace, name)

    return read


def by_name(world: World, now: datetime) -> Plan:
    """Asks for what its owner names now, as the real plans do."""
    wanted = {key: world.related.get(key) for key in needs(world.owner)}
    return plan(replace(world, related=wanted), now)


async def test_a_new_spec_is_not_planned_with_the_answers_to_the_old_ones_questions() -> None:
    machine = Machine(FakeApi(), [KindPlan("Widget", "widgets", needs, refers_to, by_name)])
    for name in ("one", "two"):
        machine.api.put(config_map(name, "rows") | {"metadata": {"name": name, "namespace": "default"}})
    machine.api.put(widget("w", configFrom="one"))
    await machine.relist()
    machine.api.get = changed_while_read(machine, lambda obj: obj["spec"].update(configFrom="two"))
    await machine.workers.work_on(widget_key("w"))
    assert machine.api.writes == []
    await machine.settle()
    assert ObjectKey("Deployment", "default", "w-run") in machine.api.objects
    assert events(machine.api) == []


@pytest.mark.parametrize("answer", [None, ForbiddenError(403, "Forbidden", 'configmaps "one" is forbidden')])
async def test_a_resource_that_is_paused_while_its_pass_asks_is_left_alone(answer: ApiError | None) -> None:
    machine = Machine(FakeApi())
    machine.api.put(config_map("one", "rows") | {"metadata": {"name": "one", "namespace": "default"}})
    machine.api.put(widget("w", configFrom="one"))
    await machine.relist()
    if answer is not None:
        machine.api.get = refusing(machine, answer)
    pause = {"hearth.dev/reconcile": "disabled"}
    machine.api.get = changed_while_read(machine, lambda obj: obj["metadata"].update(annotations=pause))
    await machine.workers.work_on(widget_key("w"))
    assert machine.api.writes == []
    await machine.settle()
    assert machine.api.writes == [("apply_status", widget_key("w"))]
    assert "Paused" in {c["type"] for c in machine.live("Widget", "w")["status"]["conditions"]}


async def test_a_bug_in_needs_is_told_like_a_bug_in_a_plan() -> None:
    def broken(owner: object) -> frozenset[ObjectKey]:
        raise KeyError("spec.model")

    machine = Machine(FakeApi(), [KindPlan("Widget", "widgets", broken, refers_to, plan)])
    machine.api.put(widget("w"))
    await machine.relist()
    await machine.workers.work_on(widget_key("w"))
    stalled = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}["Stalled"]
    assert stalled["reason"] == "InternalError"
    assert "KeyError" in stalled["message"]


def refusing(machine: Machine, error: ApiError) -> Callable[..., object]:
    """Reads as the API server answers them that does not show ConfigMaps."""
    get = machine.api.get

    async def read(resource: Resource, namespace: str, name: str) -> Json:
        if resource.kind == "ConfigMap":
            raise error
        return await get(resource, namespace, name)

    return read


async def test_a_reference_that_may_not_be_read_is_told_until_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", configFrom="data"))
    await machine.relist()
    with monkeypatch.context() as patched:
        error = ForbiddenError(403, "Forbidden", 'configmaps "data" is forbidden')
        patched.setattr(machine.api, "get", refusing(machine, error))
        for _ in range(3):
            await machine.workers.work_on(widget_key("w"))
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert conditions["Stalled"]["status"] == "True"
    assert conditions["Stalled"]["reason"] == "ReferenceRefused"
    assert 'configmaps "data" is forbidden' in conditions["Stalled"]["message"]
    assert len(events(machine.api)) == 1
    assert len([verb for verb, _ in machine.api.writes if verb == "apply_status"]) == 1

    await machine.workers.work_on(widget_key("w"))
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert (conditions["Stalled"]["status"], conditions["Ready"]["reason"]) == ("False", "Waiting")


async def test_a_server_that_has_no_time_is_nothing_that_a_resource_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", configFrom="data"))
    await machine.relist()
    monkeypatch.setattr(machine.api, "get", refusing(machine, ApiError(503, "ServiceUnavailable", "no leader")))
    await machine.workers.work_on(widget_key("w"))
    assert machine.api.writes == []


async def test_a_failing_resource_does_not_stop_the_others() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("bad", text="explode"))
    machine.api.put(widget("good"))
    await machine.relist()
    await machine.settle(passes=2000)
    assert ObjectKey("Deployment", "default", "good-run") in machine.api.objects


async def test_a_mended_resource_recovers_at_once_despite_its_backoff() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", text="explode"))
    await machine.relist()
    for _ in range(30):
        machine.clock.seconds += 400
        await machine.workers.work_on(widget_key("w"))
    mended = machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(text="fine"))
    machine.cache.put(mended)
    before = machine.clock.seconds
    await machine.settle()
    assert machine.clock.seconds - before <= REST
    conditions = {c["type"]: c["status"] for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert conditions["Stalled"] == "False"


def test_a_new_spec_is_due_at_once_and_a_change_around_it_a_moment_later() -> None:
    queue = WorkQueue(lambda: 100.0)
    wake = Waker(queue)
    wake(widget_key("w"), False)
    assert queue.next_due() == 100.1
    wake(widget_key("w"), True)
    assert queue.next_due() == 100.0


def test_kopf_is_told_to_write_nothing() -> None:
    settings = quiet_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert settings.queueing.idle_timeout < 1, "with a worker limit, idle workers would starve the rest"
    assert KIND_PLAN.needs is needs


def test_kopf_finds_nothing_to_compare_in_an_object() -> None:
    storage = quiet_settings().persistence.diffbase_storage
    body = kopf.Body({"metadata": {"name": "w"}, "spec": {"text": "x" * 1000}})
    assert storage.build(body=body) == storage.fetch(body=body) == {}
