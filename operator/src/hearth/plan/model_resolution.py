"""Which model a service shall serve, and what is known of it: by an inspection Job, or from a FineTuneJob."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.model_facts import ModelFacts, ResolvedModel
from hearth.api.shapes import FromFineTune
from hearth.plan import job_state
from hearth.plan.conditions import Condition
from hearth.plan.engine_record import records
from hearth.plan.fine_tune_reference import fine_tune_key
from hearth.plan.pod_delay import NO_PODS, Delay, start_delay
from hearth.plan.pod_trouble import result_of, trouble
from hearth.plan.served_claim import claim_of_one_node, mounted_claim
from hearth.plan.transition import condition
from hearth.plan.volume_wait import waiting_for_volume
from hearth.plan.world import Action, Apply, Delete, World, key_of
from hearth.render.inspection import REREAD, inspection_job
from hearth.render.labels import COMPONENT
from hearth.render.sources import UnsupportedUriError
from hearth.render.vllm import engine_name

TYPE = "ModelReady"
NO_INSPECTION = (NO_PODS, "PodTerminating")
"""Why there is none: gone, as soon as there is one."""
LONGEST_VALUE = 128
"""Characters of the annotation `hearth.dev/reread` that count."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """The outcome. `model` is None until the model that the spec asks for is known; what runs is left alone then."""

    condition: Condition
    model: ResolvedModel | None = None
    fine_tune_job: str | None = None
    """Where the model came from; its digest is then a manifest's, and verified before the engine starts."""
    stalled: bool = False
    waiting_on: str | None = None
    suggestion: str | None = None
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None
    """When something may be overdue that no watch tells of."""


def resolve_model(world: World, spec: LLMServiceSpec, now: datetime) -> ModelState:
    """The state of the spec's model in this world."""
    if spec.model.from_fine_tune is not None:
        found = _from_fine_tune(world, spec, spec.model.from_fine_tune, now)
    else:
        assert spec.model.uri is not None
        found = _from_uri(world, spec, spec.model.uri, now)
    return replace(found, actions=(*found.actions, *_abandoned(world, found)))


def recorded(world: World) -> Iterator[tuple[ResolvedModel, str | None]]:
    """The models that engines were decided for, and the FineTuneJob that each came from."""
    for record in records(world):
        with suppress(ValidationError):
            model = ResolvedModel.model_validate(record.get("model"))
            yield model, (record.get("fineTuneJob") or {}).get("name")


def _inspected_before(world: World) -> Iterator[ResolvedModel]:
    """The model in status.inspected: it was read, and did not fit then."""
    with suppress(ValidationError):
        yield ResolvedModel.model_validate(world.owner.get("status", {}).get("inspected"))


def _abandoned(world: World, found: ModelState) -> list[Action]:
    """Inspections under way that nobody waits for any more. What has finished goes by itself."""
    wanted = {a.obj["metadata"]["name"] for a in found.actions if isinstance(a, Apply)}
    jobs = [job for job in inspections_under_way(world) if job["metadata"]["name"] not in wanted]
    return [Delete(key_of(job), job["metadata"]["uid"]) for job in jobs]


def inspections_under_way(world: World) -> list[Json]:
    """The Jobs that read a model and have not ended."""
    return [c for c in world.children if c["kind"] == "Job" and not _finished(c)]


def _ready(model: ResolvedModel, fine_tune_job: str | None = None, note: str = "") -> ModelState:
    size = f"{model.parameters / 1e6:.0f}M parameters in {model.dtype}"
    message = note or f"{model.architecture}, {size}, read from {model.source}"
    if model.kv_cache is not None and model.kv_cache.unknown is not None:
        message += f"; its KV cache is not planned, vLLM takes what is left: {model.kv_cache.unknown}"
    reason = "SourceDeleted" if note else "Known"
    return ModelState(Condition(TYPE, "True", reason, message), model, fine_tune_job)


def _waiting(reason: str, message: str, waiting_on: str, actions: tuple[Action, ...] = ()) -> ModelState:
    return ModelState(Condition(TYPE, "False", reason, message), waiting_on=waiting_on, actions=actions)


def _stuck(reason: str, message: str, suggestion: str = "", actions: tuple[Action, ...] = ()) -> ModelState:
    condition = Condition(TYPE, "False", reason, f"{message}; {suggestion}" if suggestion else message)
    return ModelState(condition, stalled=True, suggestion=suggestion or None, actions=actions)


def _from_uri(world: World, spec: LLMServiceSpec, uri: str, now: datetime) -> ModelState:
    decided = [model for model, came_from in recorded(world) if came_from is None]
    # The newest first: what did not fit was read later than what is served, and the status may lag behind the engine.
    read = [model for model in (*_inspected_before(world), *reversed(decided)) if model.source == uri]
    asked = world.owner["metadata"].get("annotations", {}).get(REREAD, "")[:LONGEST_VALUE]
    for model in read:
        if asked in ("", model.reread):
            return _ready(model)
    found = _inspected(world, spec, uri, now, asked=asked)
    return _read_again(found, read, asked) if read else found


def _read_again(found: ModelState, read: Sequence[ResolvedModel], asked: str) -> ModelState:
    """The outcome of another look at a model that is known: it goes on as it is until its files are found changed.

    The same files are the same model, at whatever commit they were found.
    """
    if found.model is not None:
        same = next((m for m in read if m.digest == found.model.digest), found.model)
        return replace(_ready(same.model_copy(update={"reread": asked})), actions=found.actions)
    if found.stalled:
        return found
    told = _ready(read[0]).condition
    if found.condition.reason != "Inspecting":
        told = replace(told, message=f"{told.message}; asked to read it again: {found.condition.message}")
    return ModelState(told, read[0], actions=found.actions, look_again=found.look_again)


def _inspected(
    world: World,
    spec: LLMServiceSpec,
    uri: str,
    now: datetime,
    digest: str | None = None,
    fine_tune_job: str | None = None,
    asked: str = "",
) -> ModelState:
    """Reads the result of the inspection Job, which is made where there is none."""
    owner = world.owner
    try:
        job = inspection_job(
            owner,
            uri,
            image=world.settings.images.gateway,
            config_map=engine_name(owner["metadata"]["name"]),
            hub_secret=spec.model.secret_ref.name if spec.model.secret_ref else None,
            scheduling=spec.scheduling,
            overrides=spec.pod_overrides,
            asked=asked,
            claim=claim_of_one_node(world, uri),
            accelerator=spec.accelerator,
            failing_seconds=_standing_for(world, now) if _failed_before(world) else 0,
        )
    except UnsupportedUriError as error:
        return _stuck("InvalidModelUri", str(error))
    name = job["metadata"]["name"]
    live = world.child("Job", name)
    if live is not None:
        job["spec"]["ttlSecondsAfterFinished"] = live["spec"]["ttlSecondsAfterFinished"]
    apply: tuple[Action, ...] = (Apply(job),)
    for pod in job_state.pods_of(world, name):
        result = result_of(pod, "inspect")
        if result and "facts" in result:
            changed = {"digest": digest} if digest else {}
            changed |= {"reread": asked} if asked else {}
            return replace(_from_facts(uri, result["facts"], changed, fine_tune_job), actions=apply)
        if result and "error" in result and job_state.has(live, *job_state.FAILED):
            told = result["error"]
            return _stuck(told["class"], told["message"], told.get("suggestion", ""), apply)
    return _unread(world, uri, name, now, apply)


def _unread(world: World, uri: str, job: str, now: datetime, actions: tuple[Action, ...]) -> ModelState:
    """Why the inspection has not told anything (yet)."""
    pods = job_state.pods_of(world, job)
    found = trouble(pods)
    if found is not None and found.reason == "Unschedulable":
        message = f"the model cannot be read yet: {found.message}"
        return _failed_before_or(world, _waiting(found.reason, message, f"a node for Job {job}", actions))
    if found is not None:
        return _stuck(found.reason, f"the model cannot be read: {found.message}", actions=actions)
    live = world.child("Job", job)
    delay = Delay() if live is None or job_state.ended(live) else start_delay(live, pods, now)
    engines = world.pods_labelled(COMPONENT, "engine")
    late = waiting_for_volume(pods, engines, mounted_claim(world, uri), now) or delay.trouble
    if late is not None and late.lasting:
        return _stuck(late.reason, f"the model cannot be read: {late.message}", actions=actions)
    if late is not None:
        message = f"the model cannot be read yet: {late.message}"
        return _failed_before_or(world, _waiting(late.reason, message, f"Job {job}", actions))
    reading = _waiting("Inspecting", f"reading {uri}", f"Job {job}", actions)
    return _failed_before_or(world, replace(reading, look_again=delay.look_again))


def _failed_before_or(world: World, state: ModelState) -> ModelState:
    """While a failed inspection is repeated, its failure stays on show: the condition must not flap."""
    before = _failed_before(world)
    return state if before is None else replace(before, actions=state.actions, look_again=state.look_again)


def _from_facts(uri: str, facts: Json, known: dict[str, str], fine_tune_job: str | None) -> ModelState:
    """The model of an inspection's facts, with what is `known` better elsewhere."""
    try:
        read = ModelFacts.model_validate(facts)
    except ValidationError as error:
        return _stuck("ModelUnreadable", f"{uri}: {error.error_count()} facts are out of range")
    return _ready(ResolvedModel(**read.model_dump() | {"source": uri} | known), fine_tune_job)


def _finished(job: Json) -> bool:
    return job_state.has(job, *job_state.FAILED, "Complete", "SuccessCriteriaMet")


def _failed_before(world: World) -> ModelState | None:
    """The failure on record, if the inspection of this very spec has failed. What never began has not."""
    status = world.owner.get("status", {})
    before, failure = condition(status, TYPE), status.get("failure", {})
    if failure.get("class") in NO_INSPECTION:
        return None
    if before.get("status") != "False" or failure.get("class") != before["reason"]:
        return None
    if before.get("observedGeneration") != world.owner["metadata"].get("generation"):
        return None
    shown = Condition(TYPE, "False", before["reason"], before["message"])
    return ModelState(shown, stalled=True, suggestion=failure.get("suggestion"))


def _standing_for(world: World, now: datetime) -> float:
    """Seconds since the model is not ready."""
    since: str = condition(world.owner["status"], TYPE)["lastTransitionTime"]
    return (now - datetime.fromisoformat(since)).total_seconds()


def _from_fine_tune(world: World, spec: LLMServiceSpec, wanted: FromFineTune, now: datetime) -> ModelState:
    job = world.related.get(fine_tune_key(world.owner, wanted.name))
    label = f"FineTuneJob {wanted.name}"
    if job is None:
        for known, came_from in recorded(world):
            if came_from == wanted.name and wanted.digest in (None, known.digest):
                note = f"{label} was deleted; its artifact {known.digest[:19]} stays pinned and is still served"
                return _ready(known, wanted.name, note)
        return _waiting("FineTuneJobNotFound", f"{label} does not exist in this namespace", label)
    status = job.get("status", {})
    artifacts = status.get("artifacts", [])
    if wanted.digest is not None:
        chosen = next((a for a in artifacts if a["digest"] == wanted.digest), None)
        if chosen is None:
            have = ", ".join(a["digest"] for a in artifacts) or "none"
            return _stuck("ArtifactNotFound", f"{label} has no artifact {wanted.digest}; it has: {have}")
        return _artifact(world, spec, wanted.name, job, chosen, now)
    refusal = _unfinished(label, status)
    if refusal is not None:
        return refusal
    chosen = next((a for a in artifacts if a["kind"] == (wanted.artifact or "Merged")), None)
    if chosen is None:
        have = ", ".join(a["kind"] for a in artifacts) or "none"
        return _stuck("ArtifactNotFound", f"{label} has no {wanted.artifact or 'Merged'} artifact; it has: {have}")
    return _artifact(world, spec, wanted.name, job, chosen, now)


def _unfinished(label: str, status: Json) -> ModelState | None:
    """Why a FineTuneJob's artifact is not to be used (yet); None once it succeeded and passed its gate."""
    gate = status.get("gate", {})
    if gate.get("passed") is False:
        advice = "train better, lower the gate, or write the artifact's digest in model.fromFineTune.digest"
        return _stuck("GateNotMet", f"{label} did not pass its gate ({gate.get('reason', '')})", advice)
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return None
    if conditions.get("Stalled", {}).get("status") == "True":
        said = conditions["Stalled"].get("message", "")
        return _stuck("FineTuneFailed", f"{label} failed ({said})", "mend it, or choose another model")
    return _waiting("WaitingForFineTune", f"{label} has not finished", label)


def _artifact(world: World, spec: LLMServiceSpec, name: str, job: Json, artifact: Json, now: datetime) -> ModelState:
    if artifact["kind"] == "Adapter":
        return _stuck(
            "AdapterNotServable",
            f"the adapter of FineTuneJob {name} is no whole model",
            "set model.fromFineTune.artifact: Merged",
        )
    for known in (*(model for model, _ in recorded(world)), *_inspected_before(world)):
        if known.digest == artifact["digest"] and known.source == artifact["uri"]:
            return _ready(known, name)
    facts = job.get("status", {}).get("resolved", {}).get("model")
    if facts is None:
        return _inspected(world, spec, artifact["uri"], now, artifact["digest"], name)
    try:
        base = {k: v for k, v in facts.items() if k != "revision"}  # the artifact does not lie on the hub
        model = ResolvedModel.model_validate(base | {"source": artifact["uri"], "digest": artifact["digest"]})
    except ValidationError:
        return _inspected(world, spec, artifact["uri"], now, artifact["digest"], name)
    return _ready(model, name)
