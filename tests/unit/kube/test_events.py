"""Events are told once; repetitions become a series."""

import pytest
from fake_api import FakeApi
from harness import Clock
from hearth.kube.events import NOTE_LIMIT, Recorder
from hearth.plan.world import Event, ObjectKey
from widget import widget

EVENT = Event("Warning", "OOMKilled", "the trainer ran out of memory")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def events(api: FakeApi) -> list[dict]:
    return [stored.obj for key, stored in api.objects.items() if key.kind == "Event"]


async def test_an_event_names_its_object_and_who_reports(api: FakeApi, clock: Clock) -> None:
    owner = api.put(widget("w"))
    await Recorder(api, "pod-1", clock.now).tell(owner, [EVENT])
    (event,) = events(api)
    assert event["regarding"]["uid"] == owner["metadata"]["uid"]
    assert (event["type"], event["reason"], event["reportingInstance"]) == ("Warning", "OOMKilled", "pod-1")


async def test_repetitions_are_counted_and_written_once_a_minute(api: FakeApi, clock: Clock) -> None:
    owner, recorder = api.put(widget("w")), Recorder(api, "pod-1", clock.now)
    for _ in range(5):
        await recorder.tell(owner, [EVENT])
        clock.seconds += 20
    (event,) = events(api)
    assert event["series"]["count"] == 4
    assert [verb for verb, _ in api.writes] == ["create", "patch"]


async def test_another_note_is_another_event(api: FakeApi, clock: Clock) -> None:
    owner, recorder = api.put(widget("w")), Recorder(api, "pod-1", clock.now)
    await recorder.tell(owner, [EVENT, Event("Warning", "OOMKilled", "again")])
    assert len(events(api)) == 2


async def test_a_series_that_fell_silent_begins_anew(api: FakeApi, clock: Clock) -> None:
    owner, recorder = api.put(widget("w")), Recorder(api, "pod-1", clock.now)
    await recorder.tell(owner, [EVENT])
    clock.seconds += 3600
    await recorder.tell(owner, [EVENT])
    assert len(events(api)) == 2


async def test_a_series_whose_event_the_server_forgot_begins_anew(api: FakeApi, clock: Clock) -> None:
    owner, recorder = api.put(widget("w")), Recorder(api, "pod-1", clock.now)
    await recorder.tell(owner, [EVENT])
    api.remove(next(key for key in api.objects if key.kind == "Event"))
    for _ in range(2):
        clock.seconds += 90
        await recorder.tell(owner, [EVENT])
    assert len(events(api)) == 1


async def test_a_long_note_is_cut_to_what_the_server_takes(api: FakeApi, clock: Clock) -> None:
    await Recorder(api, "p", clock.now).tell(api.put(widget("w")), [Event("Normal", "Long", "x" * 5000)])
    assert len(events(api)[0]["note"]) == NOTE_LIMIT


async def test_a_note_is_measured_in_bytes_as_the_server_does(api: FakeApi, clock: Clock) -> None:
    await Recorder(api, "p", clock.now).tell(api.put(widget("w")), [Event("Normal", "Long", "規" * 1000)])
    note = events(api)[0]["note"]
    assert NOTE_LIMIT - 3 < len(note.encode()) <= NOTE_LIMIT
    assert set(note) == {"規"}


async def test_a_server_that_takes_no_event_disturbs_nobody(api: FakeApi, clock: Clock) -> None:
    def refuse(verb: str, key: ObjectKey) -> None:
        from hearth.kube.errors import ForbiddenError

        raise ForbiddenError(403, "Forbidden", "no events today")

    owner = api.put(widget("w"))
    api.before_write = refuse
    await Recorder(api, "p", clock.now).tell(owner, [EVENT])
    assert events(api) == []
