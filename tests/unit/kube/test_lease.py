"""Leader election: one leads, one waits, nobody leads twice."""

import asyncio
from unittest.mock import patch

import pytest
from fake_api import FakeApi
from harness import Clock
from hearth.api.base import Json
from hearth.kube.errors import ApiError
from hearth.kube.lease import LeaderElector, LeadershipLostError, LeaseTimes
from hearth.kube.resources import LEASE, Resource
from hearth.plan.world import ObjectKey

KEY = ObjectKey("Lease", "ns", "hearth")


def elector(api: FakeApi, clock: Clock, identity: str) -> LeaderElector:
    return LeaderElector(api, "ns", "hearth", identity, LeaseTimes(), clock.monotonic)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_the_first_candidate_leads_and_the_second_waits(api: FakeApi, clock: Clock) -> None:
    first, second = elector(api, clock, "one"), elector(api, clock, "two")
    assert await first._try()
    assert not await second._try()
    assert api.live(KEY)["spec"]["holderIdentity"] == "one"


async def test_a_standby_takes_over_when_the_lease_has_not_moved_for_its_length(api: FakeApi, clock: Clock) -> None:
    first, second = elector(api, clock, "one"), elector(api, clock, "two")
    await first._try()
    await second._try()
    clock.seconds += 14
    assert not await second._try()
    clock.seconds += 2
    assert await second._try()
    assert api.live(KEY)["spec"] | {"acquireTime": "", "renewTime": ""} == {
        "holderIdentity": "two",
        "leaseDurationSeconds": 15,
        "leaseTransitions": 1,
        "acquireTime": "",
        "renewTime": "",
    }


async def test_a_renewal_puts_the_standby_off(api: FakeApi, clock: Clock) -> None:
    first, second = elector(api, clock, "one"), elector(api, clock, "two")
    await first._try()
    for _ in range(5):
        await second._try()
        clock.seconds += 10
        assert await first._try()
    assert not await second._try()


async def test_the_clock_of_the_other_machine_does_not_matter(api: FakeApi, clock: Clock) -> None:
    await elector(api, clock, "one")._try()
    api.edit(KEY, lambda lease: lease["spec"].update(renewTime="1999-01-01T00:00:00.000000Z"))
    assert not await elector(api, clock, "two")._try()


async def test_a_renewal_by_the_leader_is_one_request(api: FakeApi, clock: Clock) -> None:
    first = elector(api, clock, "one")
    await first._try()
    reads = api.reads
    for _ in range(3):
        assert await first._try()
    assert api.reads == reads


async def test_a_leader_whose_lease_was_taken_stops(api: FakeApi, clock: Clock) -> None:
    first = elector(api, clock, "one")
    await first._try()
    api.edit(KEY, lambda lease: lease["spec"].update(holderIdentity="two"))
    with patch("asyncio.sleep", _no_time), pytest.raises(LeadershipLostError):
        await first.hold()
    assert not first.is_leader


async def test_a_leader_that_cannot_renew_stops_after_the_deadline(api: FakeApi, clock: Clock) -> None:
    first = elector(api, clock, "one")
    await first._try()

    def down(verb: str, key: ObjectKey) -> None:
        clock.seconds += 3
        raise ApiError(500, "InternalError", "etcd is away")

    api.before_write = down
    with patch("asyncio.sleep", _no_time), pytest.raises(LeadershipLostError):
        await first.hold()
    assert 10 <= clock.seconds - 1000 <= 14


async def test_a_released_lease_is_free_at_once(api: FakeApi, clock: Clock) -> None:
    first, second = elector(api, clock, "one"), elector(api, clock, "two")
    await first._try()
    await second._try()
    await first.release()
    assert await second._try()


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_lease_is_released_though_a_renewal_was_cut_short(
    api: FakeApi, clock: Clock, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    first = elector(api, clock, "one")
    await first._try()
    replace, renewing = api.replace, asyncio.Event()

    async def slow(resource: Resource, lease: Json) -> Json:
        if arrives:
            await replace(resource, lease)
        renewing.set()
        return await asyncio.Future()

    with monkeypatch.context() as patched:
        patched.setattr(api, "replace", slow)
        patched.setattr(asyncio, "sleep", _no_time)
        holding = asyncio.create_task(first.hold())
        await renewing.wait()
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    await first.release()
    assert api.live(KEY)["spec"]["holderIdentity"] == ""


async def test_a_lease_that_another_took_meanwhile_is_not_released(api: FakeApi, clock: Clock) -> None:
    first = elector(api, clock, "one")
    await first._try()
    first._lease = None  # as while a renewal is under way
    taken = api.edit(KEY, lambda lease: lease["spec"].update(holderIdentity="two"))
    await first.release()
    assert api.live(KEY) == taken


async def test_a_deleted_lease_is_made_again(api: FakeApi, clock: Clock) -> None:
    first = elector(api, clock, "one")
    await first._try()
    api.remove(KEY)
    assert not await first._try()
    assert await first._try()
    assert (await api.get(LEASE, "ns", "hearth"))["spec"]["holderIdentity"] == "one"


real_sleep = asyncio.sleep


async def _no_time(seconds: float) -> None:
    await real_sleep(0)
