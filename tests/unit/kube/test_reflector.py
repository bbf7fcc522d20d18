"""Lists, watches, gaps: the cache stays in step."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest
from fake_api import FakeApi
from hearth.kube.api import Page, Selection, WatchEvent
from hearth.kube.cache import WatchCache
from hearth.kube.errors import ConnectionFailedError, ForbiddenError, GoneError
from hearth.kube.reflector import Reflector, relist, resync
from hearth.kube.resources import NODE
from hearth.plan.world import ObjectKey
from widget import KIND_PLAN, SETTINGS, WIDGET, widget, widget_key

WIDGETS = Selection(WIDGET)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cache() -> WatchCache:
    return WatchCache([KIND_PLAN], SETTINGS, lambda key, spec_is_new: None)


@contextlib.asynccontextmanager
async def running(reflector: Reflector) -> AsyncIterator[None]:
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 1)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def a_moment() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def names(cache: WatchCache) -> set[str]:
    return {key.name for key in cache.owner_keys()}


async def test_a_list_of_several_pages_fills_the_cache(api: FakeApi, cache: WatchCache) -> None:
    for number in range(8):
        api.put(widget(f"w{number}"))
    await relist(api, WIDGETS, cache)
    assert names(cache) == {f"w{number}" for number in range(8)}


async def test_changes_arrive_while_watching(api: FakeApi, cache: WatchCache) -> None:
    api.put(widget("old"))
    async with running(Reflector(api, WIDGETS, cache)):
        api.put(widget("new"))
        api.remove(widget_key("old"))
        await a_moment()
        assert names(cache) == {"new"}


async def test_what_vanished_during_a_gap_is_pruned(api: FakeApi, cache: WatchCache) -> None:
    for name in ("a", "b", "c"):
        api.put(widget(name))
    reflector, gaps = Reflector(api, WIDGETS, cache), []
    reflector.after_gap = lambda: gaps.append(1)
    async with running(reflector):
        await a_moment()
        api.remove(widget_key("b"))
        api.put(widget("d"))
        api.compact()
        await a_moment()
        assert names(cache) == {"a", "c", "d"}
        assert gaps == [1]


async def test_a_relist_spares_what_was_written_while_it_was_under_way(api: FakeApi, cache: WatchCache) -> None:
    api.put(widget("a"))

    class Slow(FakeApi):
        async def list(self, what: Selection) -> AsyncIterator[Page]:
            async for page in api.list(what):
                cache.put(api.put(widget("written-meanwhile")))
                yield page

    await relist(Slow(), WIDGETS, cache)
    assert names(cache) == {"a", "written-meanwhile"}


async def test_a_resync_needs_no_right_to_get(api: FakeApi, cache: WatchCache, monkeypatch: pytest.MonkeyPatch) -> None:
    async def forbidden(*_: object) -> None:
        raise ForbiddenError(403, "Forbidden", "cannot get widgets")

    api.put(widget("w"))
    await relist(api, WIDGETS, cache)
    api.edit(widget_key("w"), lambda obj: obj["spec"].update(text="new"))
    monkeypatch.setattr(api, "get", forbidden)
    assert await resync(api, WIDGETS, cache) == 1
    assert cache.store.get(widget_key("w"))["spec"]["text"] == "new"


async def test_a_resync_mends_lost_events(api: FakeApi, cache: WatchCache) -> None:
    for name in ("kept", "changed", "deleted"):
        api.put(widget(name))
    await relist(api, WIDGETS, cache)
    api.edit(widget_key("changed"), lambda obj: obj["spec"].update(text="new"))
    api.remove(widget_key("deleted"))
    api.put(widget("added"))
    assert await resync(api, WIDGETS, cache) == 3
    assert names(cache) == {"kept", "changed", "added"}
    assert cache.store.get(widget_key("changed"))["spec"]["text"] == "new"
    assert await resync(api, WIDGETS, cache) == 0


async def test_a_watch_goes_on_where_it_was_when_the_server_ends_it(api: FakeApi, cache: WatchCache) -> None:
    api.put(widget("a"))
    reflector = Reflector(api, WIDGETS, cache)
    async with running(reflector):
        await a_moment()
    reads = api.reads
    api.put(widget("b"))
    async with running(reflector):
        await a_moment()
    assert names(cache) == {"a", "b"}
    assert api.reads == reads, "no second list"


class Ending(FakeApi):
    """Every watch goes on for so many seconds of the clock and then ends like this."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        super().__init__()
        self.seconds, self.error, self.clock = seconds, error, 0.0

    async def watch(self, what: Selection, resource_version: str) -> AsyncIterator[WatchEvent]:
        self.clock += self.seconds
        if self.error is not None:
            raise self.error
        return
        yield  # what makes it a generator


async def pauses(api: Ending, cache: WatchCache, monkeypatch: pytest.MonkeyPatch, count: int = 9) -> list[float]:
    """The longest that each of the first pauses between two watches may be."""
    longest: list[float] = []

    async def sleep(seconds: float) -> None:
        longest.append(seconds)
        if len(longest) == count:
            raise asyncio.CancelledError

    ceiling = Mock(uniform=lambda least, most: most)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Reflector(api, WIDGETS, cache, ceiling, clock=lambda: api.clock).run()
    return longest


async def test_a_watch_that_worked_for_a_while_is_begun_again_soon_however_it_ended(
    cache: WatchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Ending(50.0, ConnectionFailedError("connection reset"))
    assert await pauses(cut, cache, monkeypatch) == [0.5] * 9


@pytest.mark.parametrize("error", [None, GoneError(410, "Expired", "too old resource version")])
async def test_watches_that_end_at_once_come_ever_more_slowly(
    cache: WatchCache, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    api = Ending(0.001, error)
    assert await pauses(api, cache, monkeypatch) == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    assert api.reads == (10 if error else 1), "a gap alone makes it list again"


async def test_a_server_that_is_away_is_asked_ever_more_slowly(
    cache: WatchCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Ending(5.0, ConnectionFailedError("no connection within 5 s"))
    assert await pauses(away, cache, monkeypatch, 4) == [0.5, 1.0, 2.0, 4.0]


async def test_nodes_are_pruned_too(api: FakeApi, cache: WatchCache) -> None:
    for name in ("n1", "n2"):
        api.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    await relist(api, Selection(NODE), cache)
    api.remove(ObjectKey("Node", "", "n1"))
    await relist(api, Selection(NODE), cache)
    cache.put(api.put(widget("w")))
    world = cache.observe(widget_key("w"))
    assert world is not None
    assert [n["metadata"]["name"] for n in world.nodes] == ["n2"]


async def test_reflectors_that_share_a_slot_list_one_after_the_other(cache: WatchCache) -> None:
    listing, most = 0, 0

    class Slow(FakeApi):
        async def list(self, what: Selection) -> AsyncIterator[Page]:
            nonlocal listing, most
            listing += 1
            most = max(most, listing)
            await asyncio.sleep(0)
            async for page in super().list(what):
                yield page
            listing -= 1

    api, slot = Slow(), asyncio.Semaphore(1)
    tasks = [asyncio.create_task(Reflector(api, WIDGETS, cache, lists=slot).step()) for _ in range(3)]
    for _ in range(10):
        await a_moment()
    for task in tasks:
        task.cancel()
    assert (most, api.reads) == (1, 3)
