"""The whole status of a FineTuneJob, from the outcome of a decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.plan.conditions import Condition, merge, ready, reconciling, rfc3339, stalled
from hearth.plan.status_parts import failure, pending
from hearth.plan.training_choice import TrainingChoice
from hearth.plan.training_data import DataState
from hearth.plan.training_run import RunState
from hearth.plan.world import World
from hearth.render.training_job import claim_name

KEPT = (
    *(
        "startTime",
        "trainingStartTime",
        "completionTime",
        "attempt",
        "interruptions",
        "progress",
        "memory",
        "checkpoint",
        "evaluation",
    ),
    *("gate", "artifacts", "lineage", "resolved"),
)
"""What stays on record while a new decision does not replace it."""

PROGRESS_EVERY = timedelta(seconds=10)
MILESTONES = ("DataReady", "Admitted", "Training", "Evaluated", "Exported")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One decision about a job. `reason` and `message` are Ready's; `own` are the conditions that it speaks of."""

    reason: str
    message: str
    own: tuple[Condition, ...] = ()
    done: bool = False
    stalled: bool = False
    suspended: bool = False
    retryable: bool = False
    suggestion: str = ""
    waiting_on: tuple[str, ...] = ()
    data: DataState | None = None
    choice: TrainingChoice | None = None
    run: RunState | None = None
    extra: Json = field(default_factory=dict)
    """Parts of the status that replace what is on record."""
    drop: tuple[str, ...] = ()
    """Parts of the status that are no longer true."""


def compose_status(world: World, outcome: Outcome, now: datetime) -> Json:
    """The status to be on record; parts that this decision says nothing of are kept."""
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation", 0)
    status: Json = {key: live[key] for key in KEPT if key in live and key not in outcome.drop}
    status |= {"observedGeneration": generation, "phase": _phase(outcome)}
    conditions = [*_summary(outcome), *_milestones(live, outcome)]
    status["conditions"] = merge(live.get("conditions", []), conditions, generation, now)
    resolved = _resolved(world, outcome)
    if resolved:
        status["resolved"] = {**status.get("resolved", {}), **resolved}
    if outcome.choice is not None:
        status["memory"] = _memory(outcome.choice, live)
    if outcome.run is not None:
        status |= _counts(live, outcome.run)
    status |= outcome.extra
    if outcome.stalled:
        status["failure"] = failure(
            outcome.reason, outcome.message, retryable=outcome.retryable, suggestion=outcome.suggestion
        )
    elif outcome.waiting_on:
        status["pending"] = pending(live, outcome.reason, outcome.waiting_on, now)
    return status


def progress_of(world: World) -> Json:
    """`progress` and `checkpoint` from the newest message; as they were where the last write is under 10 s old."""
    told, live = world.progress, world.owner.get("status", {})
    if told is None:
        return {}
    before: Json = live.get("progress", {})
    received = datetime.fromisoformat(told["receivedAt"])
    if "updatedAt" in before and received - datetime.fromisoformat(before["updatedAt"]) < PROGRESS_EVERY:
        return {}
    figures = told.get("metrics", {})
    if "step" not in figures:
        return {}
    progress: Json = {"step": int(figures["step"]), "updatedAt": rfc3339(received)}
    if "total_steps" in figures:
        progress["totalSteps"] = int(figures["total_steps"])
    for ours, theirs in (("epoch", "epoch"), ("loss", "loss"), ("tokensPerSecond", "tokens_per_second")):
        if theirs in figures:
            progress[ours] = str(figures[theirs])[:24]
    if told.get("etaSeconds") is not None:
        progress["eta"] = duration(int(told["etaSeconds"]))
    saved = figures.get("checkpoint_step")
    if saved is None or int(saved) == live.get("checkpoint", {}).get("step"):
        return {"progress": progress}
    return {"progress": progress, "checkpoint": {"step": int(saved), "at": rfc3339(received)}}


def duration(seconds: int) -> str:
    """`1h5m`, `4m10s`, `50s`."""
    hours, rest = divmod(max(0, seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{left}s" if minutes else f"{left}s"


def _phase(outcome: Outcome) -> str:
    if outcome.done:
        return "Succeeded"
    if outcome.stalled:
        return "Waiting" if outcome.retryable else "Failed"
    if outcome.suspended:
        return "Suspended"
    current = next((c for c in outcome.own if c.type == "Training"), None)
    return "Training" if current is not None and current.status == "True" else "Pending"


def _summary(outcome: Outcome) -> tuple[Condition, ...]:
    if outcome.done:
        return ready(outcome.reason, outcome.message)
    if outcome.stalled:
        return stalled(outcome.reason, outcome.message)
    if outcome.suspended:
        return (
            Condition("Ready", "False", "Suspended", outcome.message),
            Condition("Reconciling", "False", "Suspended"),
            Condition("Stalled", "False", "Suspended"),
        )
    return reconciling(outcome.reason, outcome.message)


def _milestones(live: Json, outcome: Outcome) -> list[Condition]:
    """The kind's own conditions in their order: as told now, as before, or not reached."""
    told = {c.type: c for c in outcome.own}
    before = {c["type"]: c for c in live.get("conditions", [])}
    found = []
    for kind in MILESTONES:
        if kind in told:
            found.append(told[kind])
        elif kind in before:
            was = before[kind]
            found.append(Condition(kind, was["status"], was["reason"], was["message"]))
        else:
            found.append(Condition(kind, "False", "NotReached"))
    return found


def _resolved(world: World, outcome: Outcome) -> Json:
    resolved: Json = {"claim": claim_name(world.owner)} if outcome.choice is not None else {}
    if outcome.data is not None and outcome.data.model is not None and outcome.data.dataset is not None:
        resolved["model"] = outcome.data.model.model_dump(by_alias=True, exclude_none=True)
        resolved["dataset"] = outcome.data.dataset.model_dump(by_alias=True, exclude_none=True)
        resolved |= {"check": outcome.data.check} if outcome.data.check is not None else {}
    if outcome.choice is not None:
        resolved["training"] = outcome.choice.training.model_dump(by_alias=True, exclude_none=True)
        resolved["accelerator"] = outcome.choice.accelerator.model_dump(by_alias=True, exclude_none=True)
    return resolved


def _memory(choice: TrainingChoice, live: Json) -> Json:
    memory: Json = {
        "planned": choice.memory.planned,
        "items": [{"name": name, "bytes": size} for name, size in choice.memory.items],
    }
    if choice.available is not None:
        memory["available"] = choice.available
    peak = live.get("memory", {}).get("observedPeak")
    return memory | ({"observedPeak": peak} if peak is not None else {})


def _counts(live: Json, run: RunState) -> Json:
    """Failures and interruptions only grow, and the first start stays: pods that are gone were still there."""
    counts: Json = {"attempt": max(live.get("attempt", 1), run.failures + 1)}
    interruptions = max(live.get("interruptions", 0), run.interruptions)
    counts |= {"interruptions": interruptions} if interruptions else {}
    if run.began is not None and "trainingStartTime" not in live:
        counts["trainingStartTime"] = rfc3339(run.began)
    return counts
