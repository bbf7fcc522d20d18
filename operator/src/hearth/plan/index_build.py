"""The build of an index: which one is wanted, how its Job stands, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from hearth.api.base import Json
from hearth.api.vectorindex import VectorIndexSpec
from hearth.plan import job_state
from hearth.plan.conditions import Condition
from hearth.plan.index_engine import EngineState
from hearth.plan.index_inputs import EmbeddersState, SourcesState
from hearth.plan.job_config import as_read_by
from hearth.plan.pod_delay import start_delay
from hearth.plan.pod_trouble import Trouble, result_of, trouble
from hearth.plan.repeated import failure_on_record, progress_since, time_to_prove
from hearth.plan.world import Action, Apply, Delete, World, key_of
from hearth.render.indexer_job import (
    BUILD,
    CONTAINER,
    RESOURCES_HASH,
    Build,
    alias_of,
    build_name,
    config_map,
    job,
    job_name,
    resources_hash,
    secrets,
    secrets_of,
)

TYPE = "Indexed"

BUILDING = "Building"

PROVEN = timedelta(minutes=30)
"""A pod that goes on for so long has got further than one that nobody answers: the indexer asks for ten minutes."""

TRY_AGAIN = timedelta(minutes=5)
"""How long a Job that ran out of retries rests before it is made again, where trying again may help."""

RETRYABLE = frozenset({"Unavailable", "DiskFull", "Interrupted"})
"""Classes of images/indexer whose cause lies outside of the spec."""


@dataclass(frozen=True, slots=True)
class BuildState:
    """The outcome for the build."""

    condition: Condition
    wanted: str | None = None
    actions: tuple[Action, ...] = ()
    result: Json | None = None
    """What a build that has just been finished found; it becomes the one that serves."""
    build: Build | None = None
    building: bool = False
    stalled: bool = False
    waiting_on: tuple[str, ...] = ()
    failure: Json = field(default_factory=dict)
    look_again: timedelta | None = None


def build_state(
    world: World,
    spec: VectorIndexSpec,
    engine: EngineState,
    sources: SourcesState,
    embedders: EmbeddersState,
    now: datetime,
) -> BuildState:
    """What is written for the build, and how it stands."""
    active = world.owner.get("status", {}).get("builds", {}).get("active")
    blocked = _blocked(engine, sources, embedders)
    if embedders.known is None or not sources.ready or engine.identity is None or engine.endpoint is None:
        assert blocked is not None, "whoever is not known is not ready"
        return blocked
    build = Build(
        alias=alias_of(world.owner, spec.milvus.topology),
        milvus_uri=engine.endpoint,
        engine=engine.identity,
        embedders=embedders.known,
        revisions=sources.revisions,
        asked=world.owner["metadata"].get("annotations", {}).get("hearth.dev/reindex", ""),
    )
    wanted = build_name(spec, build)
    spare = _spare(world, wanted)
    if active == wanted and not _in_doubt(world, wanted):
        told = Condition(TYPE, "True", "Indexed", _figures(world.owner["status"]))
        return BuildState(told, wanted, spare, build=build)
    if blocked is not None:
        return blocked
    return _unless_failing(world, _under_way(world, spec, build, wanted, spare, now), now)


def _blocked(engine: EngineState, sources: SourcesState, embedders: EmbeddersState) -> BuildState | None:
    """What has to come first; the engine's and the sources' own conditions say more."""
    if not engine.ready or engine.identity is None:
        return BuildState(Condition(TYPE, "False", "WaitingForEngine", "Milvus does not answer yet"))
    if not sources.ready:
        told = Condition(TYPE, "False", "WaitingForSources", sources.condition.message)
        return BuildState(told, waiting_on=sources.waiting_on)
    if not embedders.ready:
        told = Condition(TYPE, "False", embedders.reason, embedders.message)
        waiting = (embedders.waiting_on,) if embedders.waiting_on else ()
        return BuildState(told, stalled=embedders.stalled, waiting_on=waiting)
    return None


def _under_way(
    world: World, spec: VectorIndexSpec, build: Build, wanted: str, spare: tuple[Action, ...], now: datetime
) -> BuildState:
    settings = world.settings
    live = world.child("Job", job_name(world.owner["metadata"]["name"], wanted))
    made = job(world.owner, spec, build, image=settings.images.indexer, progress_url=settings.progress_url)
    config = config_map(world.owner, spec, build, settings.progress_ca)
    actions = (*spare, Apply(as_read_by(world, live, config, ("config.json",), settings.images.indexer)))
    if _others(world, wanted) or (live is not None and _goes(live)):
        said = f"build {wanted} begins once the pod of the last one has ended"
        return BuildState(Condition(TYPE, "False", BUILDING, said), wanted, spare, build=build, building=True)
    if live is None:
        actions = (*actions, Apply(made))  # later it is left alone: a Job's template cannot be changed
        told = Condition(TYPE, "False", BUILDING, f"build {wanted} begins")
        return BuildState(told, wanted, actions, build=build, building=True)
    result = _message(world, live)
    changed = _changed(live, spec)
    if not job_state.has(live, "Complete") and changed is not None:
        told = Condition(TYPE, "False", BUILDING, f"build {wanted} goes on with {changed}")
        return BuildState(told, wanted, (*spare, _delete(live)), build=build, building=True)
    if job_state.has(live, "Complete"):
        if "result" in result:
            told = Condition(TYPE, "True", "Indexed", _figures(result["result"]))
            return BuildState(told, wanted, actions, result=result["result"], build=build)
        # The pod is gone and its message with it: the same build once more finds everything done.
        told = Condition(TYPE, "False", BUILDING, f"build {wanted} is looked at again: its result was lost")
        return BuildState(told, wanted, (*spare, _delete(live)), build=build, building=True)
    pods = job_state.pods_of(world, live["metadata"]["name"])
    if pods and job_state.out_of_memory(pods[0], CONTAINER):
        return _out_of_memory(pods[0], wanted, actions)
    if job_state.has(live, "Failed"):
        return _failed(live, pods, wanted, actions, spare, result, now)
    # Of an attempt that has told why it ended, the Job controller makes another one.
    found = None if "error" in result else trouble(pods)
    delay = start_delay(live, pods, now)
    making = BuildState(_being_made(wanted, result), wanted, actions, build=build, building=True)
    return _not_running(making, found or delay.trouble) or replace(making, look_again=delay.look_again)


def _being_made(wanted: str, result: Json) -> Condition:
    said = f"build {wanted} is being made"
    if "error" in result:
        said = f"{said}; the last attempt ended with: {result['error']['message']}"
    return Condition(TYPE, "False", BUILDING, said)


def _not_running(making: BuildState, found: Trouble | None) -> BuildState | None:
    """A build that is to run, and whose pod does not, or is not there."""
    if found is None:
        return None
    told = Condition(TYPE, "False", found.reason, f"build {making.wanted} does not run: {found.message}")
    failure = {"class": found.reason, "retryable": True, "message": told.message} if found.lasting else {}
    return replace(making, condition=told, stalled=found.lasting, failure=failure)


def _unless_failing(world: World, state: BuildState, now: datetime) -> BuildState:
    """The state, or the failure on record while a build that is made again is not seen to embed anything."""
    failure = failure_on_record(world, TYPE)
    same = world.owner.get("status", {}).get("builds", {}).get("building") == state.wanted
    if failure is None or not same or state.condition.reason != BUILDING:
        return state
    pods = job_state.pods_of(world, job_name(world.owner["metadata"]["name"], str(state.wanted)))
    left = time_to_prove(pods, PROVEN, now)
    if int(progress_since(world, pods).get("embedded", 0)) > 0 or (left is not None and left <= timedelta(0)):
        return state
    waits = [t for t in (left, state.look_again) if t is not None]
    told = _failure_told(failure)
    return replace(state, condition=told, stalled=True, failure=failure, look_again=min(waits, default=None))


def _failure_told(failure: Json) -> Condition:
    suggestion = failure.get("suggestion")
    message = f"{failure['message']}; {suggestion}" if suggestion else failure["message"]
    return Condition(TYPE, "False", failure["class"], message)


def _changed(live: Json, spec: VectorIndexSpec) -> str | None:
    """What the spec gives the indexer now and did not when the Job was made; a Job's template cannot be changed."""
    if secrets_of(live) != secrets(spec):
        return "the tokens that the spec names now"
    told = live["metadata"].get("annotations", {}).get(RESOURCES_HASH)
    return None if told is None or told == resources_hash(spec) else "other resources"


def _out_of_memory(pod: Json, wanted: str, actions: tuple[Action, ...]) -> BuildState:
    """Ends the build: with the same limit it would end so again. Other resources make another Job."""
    limit = job_state.memory_limit(pod, CONTAINER)
    message = f"build {wanted} was ended for using more memory than its limit of {limit}"
    suggestion = "raise indexer.resources.limits.memory, or lower parsing.maxPages where a PDF is very large"
    failure: Json = {"class": "OOMKilled", "retryable": False, "message": message, "suggestion": suggestion}
    told = Condition(TYPE, "False", "OOMKilled", f"{message}; {suggestion}")
    return BuildState(told, wanted, actions, stalled=True, failure=failure)


def _failed(
    live: Json,
    pods: Sequence[Json],
    wanted: str,
    actions: tuple[Action, ...],
    spare: tuple[Action, ...],
    result: Json,
    now: datetime,
) -> BuildState:
    error = result.get("error") or {"class": "IndexerFailed", "message": _why(live, pods)}
    kind, retryable = str(error["class"]), error["class"] in RETRYABLE or "error" not in result
    message = f"build {wanted} failed: {error['message']}"
    failure: Json = {"class": kind, "retryable": retryable, "message": message}
    failure |= {"suggestion": error["suggestion"]} if error.get("suggestion") else {}
    if not retryable:
        return BuildState(_failure_told(failure), wanted, actions, stalled=True, failure=failure)
    failure["message"] = f"{message}; it is tried again"
    resting = BuildState(_failure_told(failure), wanted, actions, building=True, stalled=True, failure=failure)
    left = (job_state.since(live, "Failed") or now) + TRY_AGAIN - now
    if left <= timedelta(0):
        return replace(resting, actions=(*spare, _delete(live)))
    return replace(resting, look_again=left)


def _why(live: Json, pods: Sequence[Json]) -> str:
    found = trouble(pods)
    if found is not None:
        return found.message
    said = job_state.reason_of_failure(live)
    return str(said.get("message") or said.get("reason") or "the indexer ended without a message")


def _message(world: World, live: Json) -> Json:
    """The outcome that the newest pod left, or an empty one."""
    pods = job_state.pods_of(world, live["metadata"]["name"])
    return next((found for p in pods if (found := result_of(p, CONTAINER)) is not None), {})


def _in_doubt(world: World, wanted: str) -> bool:
    """Whether another build was begun since `wanted` served, and may have switched the alias before it was ended.

    Then `wanted` is looked at again: the indexer finds it complete, and switches back.
    """
    if "building" in world.owner["status"]["builds"]:
        return True
    return not all(_refused(world, job) for job in _others(world, wanted))


def _others(world: World, wanted: str) -> list[Json]:
    """The Jobs of other builds."""
    return [c for c in world.children if c["kind"] == "Job" and _name_of(c) not in (None, wanted)]


def _refused(world: World, live: Json) -> bool:
    """Whether the Job ended with something that trying again cannot change; all of that comes before the switch."""
    error: Json = _message(world, live).get("error", {})
    return job_state.has(live, "Failed") and "class" in error and error["class"] not in RETRYABLE


def _name_of(child: Json) -> str | None:
    """Which build a Job or ConfigMap is for; None for other children."""
    name: str | None = child["metadata"].get("labels", {}).get(BUILD)
    return name


def _goes(child: Json) -> bool:
    return "deletionTimestamp" in child["metadata"]


def _spare(world: World, wanted: str) -> tuple[Action, ...]:
    """Jobs and configurations of other builds: stopped and removed, whatever state they are in."""
    return tuple(_delete(c) for c in world.children if _name_of(c) not in (None, wanted) and not _goes(c))


def _delete(obj: Json) -> Delete:
    """A Job is there until its pod has ended: two indexers at once would switch one alias and fill one collection."""
    propagation: Literal["Background", "Foreground"] = "Foreground" if obj["kind"] == "Job" else "Background"
    return Delete(key_of(obj), obj["metadata"]["uid"], propagation)


def stopped(world: World) -> tuple[Action, ...]:
    """Ends every build."""
    return _spare(world, "")


def _figures(found: Json) -> str:
    skipped = found.get("skippedCount", 0)
    more = f", {skipped} skipped" if skipped else ""
    return f"{found.get('documents', 0)} documents in {found.get('chunks', 0)} chunks{more}"
