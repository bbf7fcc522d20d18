"""The work queue: keys wait once, are worked on by one worker, and come back later the more they fail."""

import asyncio
import random

import pytest
from hearth.kube.queue import AFTER_CHANGE, REST, WorkQueue
from hearth.kube.retry import Backoff
from hearth.plan.world import ObjectKey

A, B = ObjectKey("Widget", "ns", "a"), ObjectKey("Widget", "ns", "b")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock, random.Random(1))


def test_a_key_added_many_times_is_worked_on_once(queue: WorkQueue) -> None:
    for _ in range(5):
        queue.add(A)
    assert queue.pop() == A
    queue.done(A)
    assert queue.pop() is None


def test_a_key_in_work_is_not_given_to_a_second_worker(queue: WorkQueue) -> None:
    queue.add(A)
    assert queue.pop() == A
    queue.add(A)
    assert queue.pop() is None
    queue.done(A)
    assert queue.pop() == A


def test_an_earlier_due_time_wins(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, 60)
    queue.add(A, 5)
    queue.add(A, 30)
    clock.now += 5
    assert queue.pop() == A
    queue.done(A)
    clock.now += 100
    assert queue.pop() is None


def test_due_times_that_earlier_ones_overtook_do_not_pile_up(queue: WorkQueue, clock: Clock) -> None:
    deadline = clock.now + 7 * 86400  # of a training that reports every ten seconds meanwhile
    queue.add(B, 30 * 86400)
    for _ in range(8640):
        queue.add(A)
        assert queue.pop() == A
        queue.done(A)
        queue.add(A, deadline - clock.now)
        clock.now += 10
    assert len(queue._heap) < 100
    clock.now = deadline
    assert [queue.pop(), queue.pop()] == [A, None]
    clock.now += 30 * 86400
    assert queue.pop() == B


def test_what_is_not_urgent_waits_until_the_key_has_rested(queue: WorkQueue, clock: Clock) -> None:
    queue.add_soon(A, 0.1)
    assert queue.next_due() == 100.1, "a key at rest"
    clock.now += 0.1
    assert queue.pop() == A
    queue.add_soon(A, 0.1)
    clock.now += 5
    queue.done(A)
    assert queue.next_due() == pytest.approx(105.1 + REST), "seen during the work"
    clock.now += 0.3
    queue.add_soon(A, 0.1)
    assert queue.next_due() == pytest.approx(105.1 + REST), "seen after it"
    clock.now += REST
    assert queue.pop() == A


def test_what_is_urgent_needs_no_rest(queue: WorkQueue, clock: Clock) -> None:
    for urgent_first in (True, False):
        queue.add(A)
        assert queue.pop() == A
        for urgent in (urgent_first, not urgent_first):
            if urgent:
                queue.add(A)
            else:
                queue.add_soon(A, 0.1)
        queue.done(A)
        assert queue.next_due() == clock.now
        assert queue.pop() == A
        queue.done(A)
        clock.now += 10


def test_a_key_that_fails_on_each_report_of_its_surroundings_does_not_wait_for_long(
    queue: WorkQueue, clock: Clock
) -> None:
    for _ in range(30):
        queue.add(A)
        clock.now += 1000
        assert queue.pop() == A
        queue.add_soon(A, 0.1)
        assert queue.failed(A) <= AFTER_CHANGE


def test_keys_come_in_the_order_of_their_due_times(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A, 2)
    queue.add(B, 1)
    clock.now += 3
    assert [queue.pop(), queue.pop()] == [B, A]


def test_delays_grow_with_failures_up_to_five_minutes_and_never_below_none(queue: WorkQueue, clock: Clock) -> None:
    delays = []
    for _ in range(40):
        queue.add(A)
        clock.now += 1000
        assert queue.pop() == A
        delays.append(queue.failed(A))
    assert all(0 <= d <= 300 for d in delays)
    assert max(delays[:5]) < 0.2 < max(delays[15:])
    assert max(delays[20:]) > 100


def test_a_success_forgets_past_failures(queue: WorkQueue, clock: Clock) -> None:
    for _ in range(20):
        queue.add(A)
        clock.now += 1000
        queue.pop()
        queue.failed(A)
    queue.forget(A)
    assert queue.failures(A) == 0
    clock.now += 1000
    queue.pop()
    assert queue.failed(A) <= 0.005


def test_a_change_during_a_failing_pass_is_looked_at_within_a_second(clock: Clock) -> None:
    queue = WorkQueue(clock, random.Random(1), Backoff(first=300.0, cap=300.0))
    queue.add(A)
    queue.pop()
    queue.add(A)
    assert queue.failed(A) <= AFTER_CHANGE


def test_the_state_tells_depth_and_the_age_of_the_oldest_due_key(queue: WorkQueue, clock: Clock) -> None:
    queue.add(A)
    queue.add(B, 50)
    clock.now += 7
    state = queue.state()
    assert (state.depth, state.waiting, state.in_work, state.oldest_age) == (1, 1, 0, 7)


async def test_a_waiting_worker_is_woken_by_an_add_and_by_a_due_time() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    assert await waiting == A
    queue.done(A)
    queue.add(A, 0.01)
    assert await asyncio.wait_for(queue.get(), 1) == A


async def test_each_due_key_wakes_one_of_the_idle_workers() -> None:
    queue = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add(A)
    queue.add(B, 0.01)
    done, idle = await asyncio.wait(workers, timeout=0.2)
    assert {worker.result() for worker in done} == {A, B}
    assert len(idle) == 1
    queue.close()
    assert await idle.pop() is None


async def test_an_earlier_key_is_not_kept_waiting_by_a_later_one() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A, 600)
    queue.add(B, 0.01)
    assert await asyncio.wait_for(waiting, 1) == B


async def test_a_worker_cancelled_while_it_is_rung_leaves_the_key_to_another() -> None:
    queue = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add(A)
    queue._ring()
    first.cancel()
    assert await asyncio.wait_for(second, 1) == A
    assert first.cancelled()


async def test_a_worker_that_is_being_cancelled_is_not_rung_for() -> None:
    queue = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    queue.add(A)
    queue._ring()
    assert await asyncio.wait_for(second, 1) == A


async def test_closing_sends_every_worker_home() -> None:
    queue = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.gather(*workers) == [None, None, None]
