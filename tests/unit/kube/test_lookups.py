"""Objects that specs name and no watch of ours holds."""

import asyncio

import pytest
from fake_api import FakeApi
from harness import Machine
from hearth.api.base import Json
from hearth.kube.resources import Resource
from hearth.plan.world import ObjectKey
from widget import widget, widget_key

DATA = ObjectKey("ConfigMap", "default", "data")
KEY = ObjectKey("Secret", "default", "key")


def named(key: ObjectKey, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": key.kind, "metadata": {"name": key.name, "namespace": "default"}, "data": data}


@pytest.fixture
async def machine() -> Machine:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", configFrom="data", secretFrom="key"))
    await machine.relist()
    machine.cache.needs(widget_key("w"))
    return machine


async def test_a_config_map_is_read_once_until_a_watch_says_that_it_changed(machine: Machine) -> None:
    machine.api.put(named(DATA, a="1"))
    for _ in range(3):
        found = await machine.lookups.related([DATA])
    assert found[DATA]["data"] == {"a": "1"}
    assert machine.api.reads == len(machine.watched) + 1
    changed = machine.api.put(named(DATA, a="2"))
    machine.lookups.put(changed)
    assert (await machine.lookups.related([DATA]))[DATA]["data"] == {"a": "2"}


async def test_a_missing_config_map_wakes_its_owner_when_it_appears(machine: Machine) -> None:
    assert await machine.lookups.related([DATA]) == {DATA: None}
    await machine.settle()
    machine.lookups.put(machine.api.put(named(DATA)))
    assert machine.queue.next_due() is not None
    assert (await machine.lookups.related([DATA]))[DATA] is not None


async def test_a_deleted_config_map_is_seen_as_missing(machine: Machine) -> None:
    machine.api.put(named(DATA))
    await machine.lookups.related([DATA])
    machine.api.remove(DATA)
    machine.lookups.remove(DATA)
    assert await machine.lookups.related([DATA]) == {DATA: None}


async def test_a_secret_is_asked_for_again_after_a_while_only(machine: Machine) -> None:
    assert await machine.lookups.related([KEY]) == {KEY: None}
    machine.api.put(named(KEY))
    machine.clock.seconds += 5
    assert await machine.lookups.related([KEY]) == {KEY: None}
    machine.clock.seconds += 5
    assert (await machine.lookups.related([KEY]))[KEY] is not None


async def test_owners_of_unwatched_objects_look_again_by_themselves(machine: Machine) -> None:
    missing = await machine.lookups.related([KEY])
    assert machine.lookups.ask_again_in(missing) == 10
    assert machine.lookups.ask_again_in({DATA: None}) is None


async def test_after_a_gap_nothing_remembered_of_the_kind_is_trusted(machine: Machine) -> None:
    machine.api.put(named(DATA, a="1"))
    await machine.lookups.related([DATA])
    machine.api.put(named(DATA, a="2"))
    machine.lookups.outdated_kind("ConfigMap")
    assert (await machine.lookups.related([DATA]))[DATA]["data"] == {"a": "2"}


async def test_a_change_while_reading_is_not_remembered_over(machine: Machine) -> None:
    machine.api.put(named(DATA, a="1"))
    old_get = machine.api.get

    async def overtaken(resource: Resource, namespace: str, name: str) -> Json:
        answer = await old_get(resource, namespace, name)
        machine.lookups.put(machine.api.put(named(DATA, a="2")))
        return answer

    machine.api.get = overtaken
    await machine.lookups.related([DATA])
    machine.api.get = old_get
    assert (await machine.lookups.related([DATA]))[DATA]["data"] == {"a": "2"}


async def test_a_missing_config_map_that_is_created_lets_the_resource_recover(machine: Machine) -> None:
    machine.api.put(named(KEY))
    await machine.settle()
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert conditions["Ready"]["reason"] == "Waiting"
    machine.lookups.put(machine.api.put(named(DATA)))
    await machine.settle()
    assert ObjectKey("Deployment", "default", "w-run") in machine.api.objects


async def test_a_change_while_two_ask_is_seen_by_both(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    old = machine.api.put(named(DATA, a="old"))
    gates = [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)

    async def slow(resource: Resource, namespace: str, name: str) -> Json:
        await next(waiting).wait()
        return old

    with monkeypatch.context() as patched:
        patched.setattr(machine.api, "get", slow)
        asking = [asyncio.create_task(machine.lookups.related([DATA])) for _ in gates]
        await asyncio.sleep(0)
        machine.lookups.put(machine.api.put(named(DATA, a="new")))
        for gate, task in zip(gates, asking, strict=True):
            gate.set()
            await task
    assert (await machine.lookups.related([DATA]))[DATA]["data"] == {"a": "new"}
