"""The end of a replica: what is under way may finish, as long as nobody else may be at work."""

import asyncio

import pytest
from fake_api import FakeApi
from hearth.kube.lease import LeadershipLostError
from hearth.plan.world import ObjectKey
from hearth.runtime.metrics import Metrics
from hearth.runtime.operator import Operator, Options
from hearth.runtime.reconciler import Pass
from widget import KIND_PLAN, SETTINGS, widget_key


class OnePass:
    """A reconciler whose one pass lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.has_written = False

    async def reconcile(self, key: ObjectKey) -> Pass:
        self.begun.set()
        await self.go_on.wait()
        self.has_written = True
        return Pass()


@pytest.fixture
async def one_pass() -> OnePass:
    return OnePass()


@pytest.fixture
async def operator(one_pass: OnePass) -> Operator:
    """One that has begun the pass."""
    options = Options("one", progress_address="127.0.0.1", grace=60.0)
    operator = Operator(FakeApi(), None, SETTINGS, [KIND_PLAN], options, Metrics())
    operator._workers._reconciler = one_pass
    operator._workers.start()
    operator.queue.add(widget_key("w"))
    await one_pass.begun.wait()
    return operator


async def test_a_pass_under_way_may_finish_while_the_lease_is_held(operator: Operator, one_pass: OnePass) -> None:
    holding = asyncio.create_task(asyncio.Event().wait())
    finishing = asyncio.create_task(operator._finish_passes(holding))
    one_pass.go_on.set()
    assert await asyncio.wait_for(finishing, 5) is False
    assert one_pass.has_written
    holding.cancel()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_pass_under_way_ends_at_once_where_the_lease_is_lost(
    operator: Operator, one_pass: OnePass, when: str
) -> None:
    lost = asyncio.Event()

    async def hold() -> None:
        await lost.wait()
        raise LeadershipLostError("one lost the lease")

    holding = asyncio.create_task(hold())
    if when == "before":
        lost.set()
        await asyncio.wait([holding])
    finishing = asyncio.create_task(operator._finish_passes(holding))
    await asyncio.sleep(0)
    lost.set()
    assert await asyncio.wait_for(finishing, 5) is True
    one_pass.go_on.set()
    await asyncio.sleep(0)
    assert not one_pass.has_written
    assert isinstance(holding.exception(), LeadershipLostError)
