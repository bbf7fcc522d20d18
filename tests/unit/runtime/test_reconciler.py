"""One pass: when to look again, what is told, and that one resource never stops the others."""

from collections.abc import Callable

import kopf
import pytest
from fake_api import FakeApi
from harness import Machine
from hearth.api.base import Json
from hearth.kube.errors import ApiError, ForbiddenError
from hearth.kube.queue import REST, WorkQueue
from hearth.kube.resources import Resource
from hearth.plan.world import KindPlan, ObjectKey
from hearth.runtime.shell import quiet_settings
from hearth.runtime.wake import Waker
from widget import KIND_PLAN, needs, plan, refers_to, widget, widget_key


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
