"""The end of a FineTuneJob: what the training Job left behind, judged and put on record."""

from __future__ import annotations

from datetime import datetime

from hearth.api.base import Json
from hearth.plan.conditions import Condition, ready, rfc3339, stalled
from hearth.plan.finetunejob_status import Outcome
from hearth.plan.training_choice import TrainingChoice
from hearth.plan.training_data import RETRY_AFTER, DataState
from hearth.plan.training_run import RunState
from hearth.plan.world import World
from hearth.render.training_job import claim_name


def succeeded(world: World, data: DataState, choice: TrainingChoice, run: RunState, spec_hash: str) -> Outcome:
    """Training ended well. With a gate that was not met the job has failed all the same; its artifacts stay."""
    assert run.result is not None
    result = run.result
    extra = _record(world, data, choice, run, result, spec_hash)
    gate = result.get("gate")
    told = _figures(result["evaluation"])
    own = (
        data.condition,
        Condition("Admitted", "True", "Admitted", "the training pod may run"),
        Condition("Training", "True", "Finished", f"{result['step']} of {result['totalSteps']} steps"),
        Condition("Evaluated", "True", "Measured", told),
        Condition("Exported", "True", "Published", exported(world.owner, extra["artifacts"])),
    )
    if gate is not None and not gate["passed"]:
        message = f"the gate was not met: {gate['reason']}; the artifacts are kept, and served only by their digest"
        suggestion = "train longer or on more rows in a new FineTuneJob, or lower the gate there"
        return Outcome(
            "GateNotMet",
            message,
            own,
            stalled=True,
            suggestion=suggestion,
            data=data,
            choice=choice,
            run=run,
            extra=extra,
        )
    return Outcome("Succeeded", _published(extra), own, done=True, data=data, choice=choice, run=run, extra=extra)


def exported(owner: Json, artifacts: list[Json]) -> str:
    """What was published; and that it stays so, where the spec asks for something else by now."""
    uris = ", ".join(a["uri"] for a in artifacts)
    wanted = (owner.get("spec", {}).get("output") or {}).get("merge") is not False
    if wanted == any(a["kind"] == "Merged" for a in artifacts):
        return uris
    return f"{uris}; spec.output.merge has changed since: for other artifacts, create a new FineTuneJob"


def ending(record: Json) -> tuple[Condition, ...]:
    """Ready, Reconciling and Stalled of a status that records an end.

    Read from the figures and not from its conditions: what was wrong in the pass that recorded the end, such as a
    volume that the API server refused to enlarge, is no part of the end.
    """
    failure: Json | None = record.get("failure")
    if failure is not None:
        return stalled(failure["class"], failure["message"])
    return ready("Succeeded", _published(record))


def failed(data: DataState, choice: TrainingChoice, run: RunState, now: datetime) -> Outcome:
    """Training ended badly, and another attempt would change nothing."""
    message = f"{run.message}; {run.suggestion}" if run.suggestion else run.message
    own = (data.condition, Condition("Training", "False", run.reason, message))
    ended = rfc3339(run.at or now)
    return Outcome(
        reason=run.reason,
        message=message,
        own=own,
        stalled=True,
        suggestion=run.suggestion,
        data=data,
        choice=choice,
        run=run,
        extra={"completionTime": ended},
    )


def unavailable(data: DataState, choice: TrainingChoice, run: RunState) -> Outcome:
    """Training could not go on for want of something outside, and is tried again."""
    message = f"{run.message}; it is tried again every {RETRY_AFTER.seconds // 60} minutes"
    return Outcome(
        reason=run.reason,
        message=message,
        own=(data.condition, Condition("Training", "False", run.reason, message)),
        stalled=True,
        retryable=True,
        suggestion=run.suggestion,
        data=data,
        choice=choice,
        run=run,
        drop=("completionTime",),
    )


def _record(world: World, data: DataState, choice: TrainingChoice, run: RunState, result: Json, spec_hash: str) -> Json:
    assert data.model is not None
    assert data.dataset is not None
    claim = claim_name(world.owner)
    artifacts = [
        {"kind": a["kind"], "uri": f"pvc://{claim}/{a['path']}", "digest": a["digest"], "size": a["size"]}
        for a in result["artifacts"]
    ]
    ended = rfc3339(run.at) if run.at is not None else world.owner["metadata"]["creationTimestamp"]
    progress: Json = {"step": result["step"], "totalSteps": result["totalSteps"], "updatedAt": ended}
    progress |= {key: result[key] for key in ("loss", "tokensPerSecond") if key in result}
    memory: Json = {
        "planned": choice.memory.planned,
        "observedPeak": result["peakMemory"],
        "items": [{"name": name, "bytes": size} for name, size in choice.memory.items],
    }
    if choice.available is not None:
        memory["available"] = choice.available
    extra: Json = {
        "completionTime": ended,
        "progress": progress,
        "memory": memory,
        "evaluation": result["evaluation"],
        "artifacts": artifacts,
        "lineage": {
            "model": data.model.digest,
            "dataset": data.dataset.digest,
            "image": run.image,
            "seed": choice.training.seed,
            "specHash": spec_hash,
            "libraries": result["libraries"],
        },
    }
    return extra | ({"gate": result["gate"]} if "gate" in result else {})


def _published(record: Json) -> str:
    best = record["artifacts"][-1]
    figures = _figures(record["evaluation"])
    return f"{best['kind']} model of {best['size'] / 1e6:.0f} MB at {best['uri']}; {figures}"


def _figures(evaluation: list[Json]) -> str:
    """`ExactMatch 0.9000 (base 0.0000), Loss 0.0312 (base 1.9000)`."""
    base = {e["metric"]: e["value"] for e in evaluation if e["subject"] == "base"}
    tuned = [(e["metric"], e["value"]) for e in evaluation if e["subject"] == "tuned"]
    told = [f"{metric} {value}" + (f" (base {base[metric]})" if metric in base else "") for metric, value in tuned]
    return ", ".join(told) or "no held-out rows to measure on"
