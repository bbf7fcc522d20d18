"""Replicas stand by for their own release, and say so where another one leads."""

from __future__ import annotations

import logging

import pytest
from fake_api import FakeApi
from harness import Clock
from hearth.kube.lease import LeaderElector, LeaseTimes
from hearth.runtime.standby import Standby, deployment_of

OURS = "hearth-66b6c48dd5-7w5nz_0a1b2c3d"
OTHER_REPLICA = "hearth-66b6c48dd5-x9k2m_1a1b2c3d"
UPGRADED = "hearth-7d9f8c6b54-bq4cz_2a1b2c3d"
OTHER_RELEASE = "team-b-hearth-5c4d8b7f96-hj8tp_3a1b2c3d"
LAPTOP = "dev-box-1_4a1b2c3d"


@pytest.mark.parametrize(
    ("identity", "deployment"),
    [
        (OURS, "hearth"),
        (OTHER_RELEASE, "team-b-hearth"),
        ("hearth-bcd-5c4d8b7f96-hj8tp_3a1b2c3d", "hearth-bcd"),
        (LAPTOP, None),
        ("", None),
    ],
)
def test_a_holder_is_known_by_the_deployment_of_its_pod(identity: str, deployment: str | None) -> None:
    assert deployment_of(identity) == deployment


def elector(api: FakeApi, clock: Clock, identity: str) -> LeaderElector:
    return LeaderElector(api, "ns", "hearth-operator", identity, LeaseTimes(), clock.monotonic)


@pytest.mark.parametrize(
    ("leader", "waiting", "healthy"),
    [
        (OTHER_REPLICA, OURS, True),
        (UPGRADED, OURS, True),
        (OTHER_RELEASE, OURS, False),
        (OURS, OTHER_RELEASE, False),
        (LAPTOP, OURS, True),
        (OURS, LAPTOP, True),
    ],
)
async def test_a_standby_is_not_ready_where_a_pod_of_another_release_leads(
    caplog: pytest.LogCaptureFixture, leader: str, waiting: str, healthy: bool
) -> None:
    api, clock = FakeApi(), Clock()
    await elector(api, clock, leader)._try()
    candidate = elector(api, clock, waiting)
    assert not await candidate._try()
    standby = Standby(candidate)
    found = [standby.check(), standby.check()]
    if healthy:
        assert found == [None, None]
        return
    assert found[0] == found[1] is not None
    assert f"pod {leader.partition('_')[0]} of another release in this namespace holds the Lease" in found[0]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [found[0]], "told once"


async def test_a_standby_is_ready_again_once_the_other_release_has_gone() -> None:
    api, clock = FakeApi(), Clock()
    other, candidate = elector(api, clock, OTHER_RELEASE), elector(api, clock, OURS)
    await other._try()
    await candidate._try()
    standby = Standby(candidate)
    assert standby.check() is not None
    clock.seconds += 16
    assert standby.check() is None, "its lease has run out"
    await other._try()
    await other.release()
    assert await candidate._try()
    assert standby.check() is None
