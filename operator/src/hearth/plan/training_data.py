"""Whether a FineTuneJob's model and rows can be used: sources first, then the Job that reads and checks them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from hearth.api.base import Json
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.finetunejob_status import Finding, ResolvedDataset
from hearth.api.model_facts import ModelFacts, ResolvedModel
from hearth.plan import job_state
from hearth.plan.conditions import Condition
from hearth.plan.pod_delay import Delay, start_delay
from hearth.plan.pod_trouble import Trouble, result_of, trouble
from hearth.plan.repeated import failure_on_record, time_to_prove
from hearth.plan.world import Action, Apply, Delete, ObjectKey, World, key_of
from hearth.render.inspection import REREAD
from hearth.render.labels import COMPONENT
from hearth.render.names import digest8
from hearth.render.sources import UnsupportedUriError
from hearth.render.training_job import PREPARE, TEMPLATE_HASH, check_hash, prepare_job, prepare_name

TYPE = "DataReady"
RETRY_AFTER = timedelta(minutes=5)
"""When a check that failed for want of something outside, such as the hub, is made again."""
CHECKING = "reading the model's facts and checking the rows"
LOST = "the check ended, but its pod is gone with what it found"


@dataclass(frozen=True, slots=True)
class DataState:
    """The outcome. `model` and `dataset` are both there, or the condition says why they are not."""

    condition: Condition
    model: ResolvedModel | None = None
    dataset: ResolvedDataset | None = None
    stalled: bool = False
    retryable: bool = False
    suggestion: str = ""
    waiting_on: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None
    check: str | None = None
    """Digest of what the check read: its findings hold for this and for nothing else."""


def sources(owner: Json, spec: FineTuneJobSpec) -> dict[ObjectKey, str | None]:
    """The ConfigMaps and claims that the spec's URIs name; for a ConfigMap with the key that must be in it."""
    namespace = owner["metadata"]["namespace"]
    found: dict[ObjectKey, str | None] = {}
    for uri in _uris(spec):
        scheme, _, rest = uri.partition("://")
        name, _, inside = rest.partition("/")
        if scheme == "configMap":
            found[ObjectKey("ConfigMap", namespace, name)] = inside or None
        elif scheme == "pvc":
            found[ObjectKey("PersistentVolumeClaim", namespace, name)] = None
    return found


def _uris(spec: FineTuneJobSpec) -> list[str]:
    rows = [s.uri for s in (spec.dataset.train, spec.dataset.eval) if s is not None]
    return [u for u in (spec.model.uri, *rows) if u is not None]


def resolve_data(world: World, spec: FineTuneJobSpec, now: datetime) -> DataState:
    """The state of model and rows in this world."""
    recorded = _recorded(world)
    if recorded is not None and "startTime" in world.owner["status"]:
        return recorded
    identity = prepare_identity(world, spec)
    check, name = digest8(identity), prepare_name(world.owner, identity)
    if recorded is not None and recorded.check == check:
        return replace(recorded, actions=stale_jobs(world, PREPARE, name))
    missing = _missing(world, spec)
    if missing is not None:
        return missing
    try:
        job = prepare_job(world.owner, spec, name, world.settings.images.trainer)
    except UnsupportedUriError as error:
        return DataState(Condition(TYPE, "False", "InvalidUri", str(error)), stalled=True)
    found = _unless_failing(world, name, _checked(world, spec, job, now), now)
    return replace(found, check=check)


def stale_jobs(world: World, component: str, keep: str | None) -> tuple[Delete, ...]:
    """Deletions of a component's Jobs other than `keep`."""
    return tuple(
        Delete(key_of(c), c["metadata"]["uid"], "Foreground")
        for c in world.children
        if c["kind"] == "Job"
        and _component(c) == component
        and c["metadata"]["name"] != keep
        and "deletionTimestamp" not in c["metadata"]
    )


def _component(job: Json) -> str | None:
    labels: Json = job["spec"].get("template", {}).get("metadata", {}).get("labels", {})
    return labels.get(COMPONENT)


def _recorded(world: World) -> DataState | None:
    """What a check has found. After the start nothing may change it; before, it holds for what that check read.

    The pods of a check may go long before training can start.
    """
    resolved = world.owner.get("status", {}).get("resolved", {})
    try:
        model = ResolvedModel.model_validate(resolved.get("model"))
        dataset = ResolvedDataset.model_validate(resolved.get("dataset"))
    except ValidationError:
        return None
    return replace(_ready(model, dataset), check=resolved.get("check"))


def _ready(model: ResolvedModel, dataset: ResolvedDataset) -> DataState:
    counted = "".join(f"; {f.count} {_NAMES.get(f.check, f.check)}" for f in dataset.findings or [])
    message = (
        f"{dataset.train_rows} rows to learn from and {dataset.eval_rows} held out "
        f"({dataset.format}, {dataset.train_tokens} tokens, the longest row {dataset.longest_row}){counted}"
    )
    return DataState(Condition(TYPE, "True", "Checked", message), model, dataset)


_NAMES = {
    "duplicates": "duplicate rows",
    "tooLong": "rows longer than the context are left out",
    "emptyTargets": "rows without a target are left out",
    "leakage": "held-out prompts are in the training rows too",
}


def _missing(world: World, spec: FineTuneJobSpec) -> DataState | None:
    for key, inside in sorted(sources(world.owner, spec).items()):
        found = world.related.get(key)
        what = f"{key.kind} {key.name}"
        if found is None:
            message = f"{what} does not exist in namespace {key.namespace}; create it and the job goes on by itself"
            return _waiting("SourceNotFound", message, what)
        held = sorted({**found.get("data", {}), **found.get("binaryData", {})})
        if inside is not None and inside not in held:
            message = f"{what} has no key {inside}; it has: {', '.join(held[:8]) or 'none'}"
            return _waiting("SourceNotFound", message, f"{what} key {inside}")
    return None


def _waiting(reason: str, message: str, on: str, actions: tuple[Action, ...] = ()) -> DataState:
    return DataState(Condition(TYPE, "False", reason, message), waiting_on=(on,), actions=actions)


def prepare_identity(world: World, spec: FineTuneJobSpec) -> Json:
    """What the check depends on. The contents of ConfigMaps are part of it: mended rows are checked anew.

    What else is mended nobody sees: for that the annotation `hearth.dev/reread` is part of it, where there is one.
    """
    asked = world.owner["metadata"].get("annotations", {}).get(REREAD)
    contents = {
        key.name: digest8([found.get("data", {}), found.get("binaryData", {})])
        for key in sources(world.owner, spec)
        if key.kind == "ConfigMap" and (found := world.related.get(key)) is not None
    }
    return {
        "model": spec.model.model_dump(by_alias=True, exclude_none=True),
        "dataset": spec.dataset.model_dump(by_alias=True, exclude_none=True),
        "length": spec.training.max_sequence_length if spec.training else None,
        "contents": contents,
        **({"reread": asked} if asked else {}),
    }


def _checked(world: World, spec: FineTuneJobSpec, job: Json, now: datetime) -> DataState:
    name = job["metadata"]["name"]
    live = world.child("Job", name)
    actions = stale_jobs(world, PREPARE, name) + (() if live else (Apply(job),))
    pods = job_state.pods_of(world, name)
    for pod in pods:
        facts, rows = result_of(pod, "inspect"), result_of(pod, PREPARE)
        if facts and "facts" in facts and rows and "result" in rows:
            return _from_results(spec, facts["facts"], rows["result"], actions)
    if live is not None and _outdated(live, spec):
        ended = stale_jobs(world, PREPARE, None)
        return _waiting("Restarting", "the pod's part of spec has changed; the check begins anew", f"Job {name}", ended)
    if live is not None and job_state.has(live, "Complete"):
        return _without_result(live, pods, actions, now)
    return _unchecked(live, pods, name, actions, now)


def _unless_failing(world: World, name: str, state: DataState, now: datetime) -> DataState:
    """The state, or the failure on record while a check that is made again has not gone on for longer than that."""
    failure = failure_on_record(world, TYPE)
    if failure is None or state.condition.reason != "Checking":
        return state
    left = time_to_prove(job_state.pods_of(world, name), RETRY_AFTER, now)
    if left is not None and left <= timedelta(0):
        return state
    waits = [t for t in (left, state.look_again) if t is not None]
    return DataState(
        Condition(TYPE, "False", failure["class"], failure["message"]),
        stalled=True,
        retryable=True,
        suggestion=failure.get("suggestion", ""),
        actions=state.actions,
        look_again=min(waits, default=None),
    )


def _outdated(live: Json, spec: FineTuneJobSpec) -> bool:
    made_of = live["metadata"].get("annotations", {}).get(TEMPLATE_HASH)
    return made_of is not None and made_of != check_hash(spec)


def _without_result(live: Json, pods: list[Json], actions: tuple[Action, ...], now: datetime) -> DataState:
    """The check has come to its end, and nobody can read what it found."""
    name = live["metadata"]["name"]
    if any(p.get("status", {}).get("phase") not in ("Succeeded", "Failed") for p in pods):
        return _waiting("Checking", CHECKING, f"Job {name}", actions)  # the news of the pod is still on its way
    if pods:
        message = f"Job {name} is complete, and its pod left no result that this operator understands"
        return DataState(Condition(TYPE, "False", "ResultUnreadable", message), stalled=True, actions=actions)
    return _failed(live, {"class": "ResultLost", "message": LOST, "retryable": True}, actions, now)


def _unchecked(live: Json | None, pods: list[Json], name: str, actions: tuple[Action, ...], now: datetime) -> DataState:
    """Why there is no result: it failed, it cannot run, or it has not ended."""
    failed = job_state.has(live, *job_state.FAILED)
    killed = next(((p, c) for p in pods for c in ("inspect", PREPARE) if job_state.out_of_memory(p, c)), None)
    if killed is not None:
        return _failed(live, _too_large(*killed), actions, now)
    told = [r["error"] for p in pods for c in ("inspect", PREPARE) if (r := result_of(p, c)) and "error" in r]
    if told and failed:
        return _failed(live, told[0], actions, now)
    found = trouble(pods)
    if found is not None and found.reason in ("ImagePullFailed", "ContainerNotStarted", "VolumeMissing"):
        condition = Condition(TYPE, "False", found.reason, found.message)
        return DataState(condition, stalled=True, retryable=True, actions=actions)
    if failed:
        message = found.message if found else f"Job {name} failed and its pods left no message"
        reason = found.reason if found else "CheckFailed"
        return _failed(live, {"class": reason, "message": message, "retryable": True}, actions, now)
    return _coming(live, pods, name, found, actions, now)


def _coming(
    live: Json | None, pods: list[Json], name: str, found: Trouble | None, actions: tuple[Action, ...], now: datetime
) -> DataState:
    """A check that neither has ended nor cannot run: it does its work, or waits for a node."""
    if found is not None and found.reason == "Unschedulable":
        return _waiting(found.reason, found.message, "a node with room", actions)
    delay = start_delay(live, pods, now) if live is not None else Delay()
    if delay.trouble is None:
        return replace(_waiting("Checking", CHECKING, f"Job {name}", actions), look_again=delay.look_again)
    late = delay.trouble
    if late.lasting:
        condition = Condition(TYPE, "False", late.reason, late.message)
        return DataState(condition, stalled=True, retryable=True, actions=actions)
    return _waiting(late.reason, late.message, f"Job {name}", actions)


def _too_large(pod: Json, container: str) -> Json:
    """Trying again would end in the same way."""
    limit = job_state.memory_limit(pod, container)
    what = "reading the model's facts" if container == "inspect" else "checking the rows"
    return {
        "class": "OOMKilled",
        "message": f"{what} took more memory than the container's limit of {limit}",
        "suggestion": f"set podOverrides.resources.limits.memory to more than {limit}, or split the rows",
    }


def _from_results(spec: FineTuneJobSpec, facts: Json, result: Json, actions: tuple[Action, ...]) -> DataState:
    try:
        model = ResolvedModel(**ModelFacts.model_validate(facts).model_dump() | {"source": spec.model.uri or ""})
        dataset = ResolvedDataset(
            format=result["format"],
            digest=result["digest"],
            train_rows=result["trainRows"],
            eval_rows=result["evalRows"],
            train_tokens=result["trainTokens"],
            longest_row=result["longestRow"],
            longest_target=result["longestTarget"],
            findings=[Finding.model_validate(f) for f in result["findings"]] or None,
        )
    except (ValidationError, KeyError) as error:
        message = f"the trainer image left a result that this operator does not understand: {str(error)[:300]}"
        return DataState(Condition(TYPE, "False", "ResultUnreadable", message), stalled=True, actions=actions)
    state = _ready(model, dataset)
    return DataState(state.condition, model, dataset, actions=actions)


def _failed(live: Json | None, error: Json, actions: tuple[Action, ...], now: datetime) -> DataState:
    retryable = error.get("retryable", error["class"] in ("HubUnreachable", "SourceUnavailable"))
    since = job_state.since(live, "Complete", *job_state.FAILED)
    look_again = None
    if retryable and live is not None and since is not None:
        left = since + RETRY_AFTER - now
        if left <= timedelta(0):
            actions = (*actions, Delete(key_of(live), live["metadata"]["uid"]))
        else:
            look_again = left
    suggestion = error.get("suggestion", "")
    message = f"{error['message']}; {suggestion}" if suggestion else error["message"]
    if retryable:
        message = f"{message}; it is tried again every {RETRY_AFTER.seconds // 60} minutes"
    condition = Condition(TYPE, "False", error["class"], message)
    return DataState(
        condition, stalled=True, retryable=retryable, suggestion=suggestion, actions=actions, look_again=look_again
    )
