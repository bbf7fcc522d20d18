"""The whole status of an LLMService, from the outcome of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.model_facts import ResolvedModel
from hearth.plan.conditions import Condition, merge, ready, reconciling, stalled
from hearth.plan.engine_sizing import Sizing
from hearth.plan.memory import MemoryPlan
from hearth.plan.service_health import EngineHealth
from hearth.plan.status_parts import failure, pending
from hearth.plan.transition import condition, ready_event
from hearth.plan.world import Event, World
from hearth.render.labels import selector
from hearth.render.vllm import PORT, EngineChoice

KEPT = ("url", "model", "memory", "resolved", "selector", "replicas", "readyReplicas")
"""What stays on record while a new decision does not replace it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decision about a service. `reason` and `message` are Ready's."""

    reason: str
    message: str
    spec: LLMServiceSpec | None = None
    own: tuple[Condition, ...] = ()
    stalled: bool = False
    reconciling: bool = True
    suggestion: str | None = None
    waiting_on: str | None = None
    health: EngineHealth | None = None
    model: ResolvedModel | None = None
    """The model to serve; without the rest of a plan for it, one that was read and does not fit."""
    fine_tune_job: str | None = None
    sizing: Sizing | None = None
    memory: MemoryPlan | None = None
    choice: EngineChoice | None = None
    retrieval: str | None = None


def compose_status(world: World, outcome: Outcome, now: datetime) -> Json:
    """The status to be on record; parts that this decision says nothing of are kept."""
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation", 0)
    status: Json = {key: live[key] for key in KEPT if key in live}
    status["observedGeneration"] = generation
    status["phase"] = _phase(outcome)
    summary = _summary(outcome)
    own = outcome.own or tuple(_as_before(live))
    status["conditions"] = merge(live.get("conditions", []), [*summary, *own], generation, now)
    status |= _addresses(world)
    if outcome.health is not None:
        status["replicas"] = outcome.health.replicas
        status["readyReplicas"] = outcome.health.ready_replicas
    status |= _resolved(outcome)
    if outcome.stalled:
        # Everything that stalls a service is looked at again when the spec, a pod or what it refers to changes.
        status["failure"] = failure(outcome.reason, outcome.message, retryable=True, suggestion=outcome.suggestion)
    elif outcome.waiting_on:
        status["pending"] = pending(live, outcome.reason, (outcome.waiting_on,), now)
    return status


def events(live: Json, status: Json) -> tuple[Event, ...]:
    """A problem and its end; a model that is served on although its FineTuneJob was deleted."""
    before, after = condition(live, "ModelReady"), condition(status, "ModelReady")
    orphaned = after.get("reason") == "SourceDeleted" != before.get("reason")
    told = (Event("Warning", "SourceDeleted", after["message"]),) if orphaned else ()
    return (*ready_event(live, status), *told)


def _summary(outcome: Outcome) -> tuple[Condition, ...]:
    if outcome.stalled:
        return stalled(outcome.reason, outcome.message)
    if outcome.reason == "Suspended":
        return (
            Condition("Ready", "False", "Suspended", outcome.message),
            Condition("Reconciling", "True" if outcome.reconciling else "False", "Suspended"),
            Condition("Stalled", "False", "Suspended"),
        )
    if outcome.reconciling:
        return reconciling(outcome.reason, outcome.message)
    return ready(outcome.reason, outcome.message)


def _phase(outcome: Outcome) -> str:
    if outcome.stalled:
        return "Stalled"
    if outcome.reason in ("Suspended", "ScaledToZero"):
        return outcome.reason
    return "Progressing" if outcome.reconciling else "Serving"


def _as_before(live: Json) -> list[Condition]:
    summary = ("Ready", "Reconciling", "Stalled")
    kept = [c for c in live.get("conditions", []) if c["type"] not in summary]
    return [Condition(c["type"], c["status"], c["reason"], c["message"]) for c in kept]


def _addresses(world: World) -> Json:
    metadata = world.owner["metadata"]
    host = f"{metadata['name']}.{metadata['namespace']}.svc.{world.settings.cluster_domain}"
    labels = selector(world.owner, "engine")
    return {
        "url": f"http://{host}:{PORT}/v1",
        "selector": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
    }


def _resolved(outcome: Outcome) -> Json:
    model, memory, choice, sizing = outcome.model, outcome.memory, outcome.choice, outcome.sizing
    if model is None:
        return {}
    facts = model.model_dump(by_alias=True, exclude_none=True)
    if memory is None or choice is None or sizing is None:
        return {"inspected": facts}
    resolved: Json = {
        "model": facts,
        "servedName": choice.served_name,
        "engineImage": choice.image,
        "device": sizing.device,
        "maxModelLen": choice.max_model_len,
        "maxConcurrency": choice.max_concurrency,
    }
    if sizing.accelerator is not None:
        resolved["accelerator"] = sizing.accelerator.model_dump(by_alias=True, exclude_none=True)
    if outcome.fine_tune_job is not None:
        resolved["fineTuneJob"] = {"name": outcome.fine_tune_job}
    if outcome.retrieval is not None:
        resolved["retrieval"] = outcome.retrieval
    planned: Json = {"planned": memory.planned, "items": [{"name": n, "bytes": b} for n, b in memory.items]}
    if memory.available is not None:
        planned["available"] = memory.available
    if memory.kv_tokens is not None:
        planned["kvTokens"] = memory.kv_tokens
    return {"resolved": resolved, "memory": planned, "model": {"uri": model.source, "digest": model.digest}}
