"""How far the training Job is, read from the Job and its pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from hearth.api.base import Json
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.plan import job_state
from hearth.plan.job_config import image_of
from hearth.plan.pod_delay import start_delay, stop_delay
from hearth.plan.pod_trouble import last_error_line, result_of, trouble
from hearth.plan.training_again import RETRY, advice
from hearth.plan.training_choice import TrainingChoice
from hearth.plan.training_memory import gib
from hearth.plan.world import World
from hearth.render.training_job import INTERRUPTED, TRAIN, UNAVAILABLE

Phase = Literal["Absent", "Leaving", "Queued", "Waiting", "Running", "Succeeded", "Lost", "Failed"]


@dataclass(frozen=True, slots=True)
class RunState:
    """The training Job. Leaving: on its way out. Lost: it is complete and nobody has its result."""

    phase: Phase
    reason: str
    message: str
    result: Json | None = None
    retryable: bool = False
    suggestion: str = ""
    at: datetime | None = None
    """When it ended."""
    began: datetime | None = None
    """When its first pod that is still known began to run."""
    image: str = ""
    """What trains."""
    failures: int = 0
    interruptions: int = 0
    look_again: timedelta | None = None
    """When something may be overdue that no watch tells of."""


def observe_run(world: World, spec: FineTuneJobSpec, choice: TrainingChoice, name: str, now: datetime) -> RunState:
    """The state of the training Job of this name."""
    job = world.child("Job", name)
    if job is None:
        return RunState("Absent", "NotStarted", "the training pod has not been asked for")
    pods = job_state.pods_of(world, name)
    ended = [job_state.end_of(p, TRAIN) for p in pods]
    stopped = sum(1 for p, e in zip(pods, ended, strict=True) if _interrupted(p, e))
    failed = sum(1 for p, e in zip(pods, ended, strict=True) if e and e.get("exitCode") and not _interrupted(p, e))
    return replace(
        _state(job, pods, spec, choice, now),
        at=job_state.since(job, "Complete", *job_state.FAILED),
        began=min((b for p in pods if (b := _began(p)) is not None), default=None),
        image=image_of(job),
        failures=failed,
        interruptions=stopped,
    )


def _state(job: Json, pods: Sequence[Json], spec: FineTuneJobSpec, choice: TrainingChoice, now: datetime) -> RunState:
    if "deletionTimestamp" in job["metadata"]:
        return _stopping(pods, now, "Leaving")
    # An attempt that was killed says nothing once a later one has come to the end.
    if job_state.has(job, "Complete"):
        result = job_state.told(pods, TRAIN, "result")
        if result is None:
            return RunState(
                "Lost", "ResultLost", "training ended, but its result is gone with its pod; reading it again"
            )
        return RunState("Succeeded", "Finished", f"{result['totalSteps']} steps", result=result)
    killed = next((p for p in pods if job_state.out_of_memory(p, TRAIN)), None)
    if killed is not None:
        return _killed(killed, choice)
    if job_state.has(job, *job_state.FAILED):
        return _failed(job, pods)
    return _under_way(job, pods, spec, now)


def _under_way(job: Json, pods: Sequence[Json], spec: FineTuneJobSpec, now: datetime) -> RunState:
    if job["spec"].get("suspend"):
        queue = spec.scheduling.queue_name if spec.scheduling else None
        return RunState("Queued", "Queued", f"waits in queue {queue} to be admitted by Kueue")
    running = [p for p in pods if p.get("status", {}).get("phase") == "Running"]
    if any("deletionTimestamp" not in p["metadata"] for p in running):
        return RunState("Running", "Running", "training")
    if running:
        return _stopping(running, now, "Waiting")
    waiting = [p for p in pods if p.get("status", {}).get("phase", "Pending") == "Pending"]
    delay = start_delay(job, pods, now)
    found = trouble(waiting) or delay.trouble
    if found is not None:
        return RunState("Waiting", found.reason, found.message, retryable=True)
    last = next((e for p in pods if (e := job_state.end_of(p, TRAIN))), None)
    if last is not None and last.get("exitCode") == INTERRUPTED:
        resumes = "interrupted after a checkpoint; a new pod resumes there"
        return RunState("Waiting", "Resuming", resumes, look_again=delay.look_again)
    return RunState("Waiting", "Starting", "the training pod is being started", look_again=delay.look_again)


def _stopping(pods: Sequence[Json], now: datetime, phase: Literal["Leaving", "Waiting"]) -> RunState:
    delay = stop_delay(pods, now)
    if delay.trouble is not None:
        return RunState(phase, delay.trouble.reason, delay.trouble.message, retryable=True)
    saving = "the training pod writes a checkpoint and stops"
    return RunState(phase, "Stopping", saving, look_again=delay.look_again)


def _failed(job: Json, pods: Sequence[Json]) -> RunState:
    for pod in pods:
        error: Json | None = (result_of(pod, TRAIN) or {}).get("error")
        if error is not None:
            outside = (job_state.end_of(pod, TRAIN) or {}).get("exitCode") == UNAVAILABLE
            suggestion = error.get("suggestion", "")
            if not outside:
                suggestion = advice(error["class"], suggestion)
            return RunState("Failed", error["class"], error["message"], retryable=outside, suggestion=suggestion)
    last = next((e for p in pods if (e := job_state.end_of(p, TRAIN))), None)
    line = last_error_line(last.get("message", "")) if last else ""
    told = f": {line}" if line else ""
    code = f"the last pod ended with exit code {last.get('exitCode')}{told}; " if last else ""
    message = f"{code}{job_state.reason_of_failure(job).get('message', '')}"
    return RunState("Failed", "TrainingFailed", message, suggestion=_how_to_try_again(job))


def _how_to_try_again(job: Json) -> str:
    meta = job["metadata"]
    return f"see `kubectl -n {meta.get('namespace')} logs job/{meta['name']}`; {RETRY}"


def _killed(pod: Json, choice: TrainingChoice) -> RunState:
    limit = job_state.memory_limit(pod, TRAIN)
    error: Json = (result_of(pod, TRAIN) or {}).get("error", {})
    if choice.device == "GPU" and not error:
        message = (
            f"the training pod was ended for using more main memory than its limit of {limit}; "
            "the memory of its GPU was not at fault"
        )
        suggestion = "raise podOverrides.resources.limits.memory: a new pod resumes at the newest checkpoint"
        return RunState("Failed", "OOMKilled", message, suggestion=suggestion)
    parts = ", ".join(f"{name} {gib(size)}" for name, size in choice.memory.items)
    how = error.get("message") or f"the training pod was ended for using more memory than its limit of {limit}"
    message = f"{how}; planned were {gib(choice.memory.planned)}: {parts}"
    here = "podOverrides.resources.limits.memory" if choice.device == "CPU" else "accelerator.minMemory"
    suggestion = (
        f"raise {here} here, or create a new FineTuneJob with a smaller training.microBatchSize or maxSequenceLength"
    )
    return RunState("Failed", "OOMKilled", message, suggestion=suggestion)


def _began(pod: Json) -> datetime | None:
    for status in pod.get("status", {}).get("containerStatuses", []):
        state = status.get("state", {})
        at = (state.get("running") or state.get("terminated") or {}).get("startedAt")
        if status["name"] == TRAIN and at:
            return datetime.fromisoformat(at)
    return None


def _interrupted(pod: Json, ended: Json | None) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    disrupted = any(c["type"] == "DisruptionTarget" and c["status"] == "True" for c in conditions)
    return disrupted or (ended is not None and ended.get("exitCode") == INTERRUPTED)
