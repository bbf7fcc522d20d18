"""How far the training Job is, read from the Job and its pods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hearth.api.base import Json
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.plan import job_state
from hearth.plan.job_config import image_of
from hearth.plan.pod_trouble import result_of, trouble
from hearth.plan.training_choice import TrainingChoice
from hearth.plan.training_memory import gib
from hearth.plan.world import World
from hearth.render.training_job import INTERRUPTED, TRAIN

Phase = Literal["Absent", "Leaving", "Queued", "Waiting", "Running", "Succeeded", "Lost", "Failed"]
NEVER_STARTED = ("ImagePullFailed", "ContainerNotStarted", "VolumeMissing")


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


def observe_run(world: World, spec: FineTuneJobSpec, choice: TrainingChoice, name: str) -> RunState:
    """The state of the training Job of this name."""
    job = world.child("Job", name)
    if job is None:
        return RunState("Absent", "NotStarted", "the training pod has not been asked for")
    pods = job_state.pods_of(world, name)
    ended = [job_state.end_of(p, TRAIN) for p in pods]
    stopped = sum(1 for p, e in zip(pods, ended, strict=True) if _interrupted(p, e))
    failed = sum(1 for p, e in zip(pods, ended, strict=True) if e and e.get("exitCode") and not _interrupted(p, e))
    state = _state(job, pods, spec, choice)
    return RunState(
        phase=state.phase,
        reason=state.reason,
        message=state.message,
        result=state.result,
        retryable=state.retryable,
        suggestion=state.suggestion,
        at=job_state.since(job, "Complete", *job_state.FAILED),
        began=min((b for p in pods if (b := _began(p)) is not None), default=None),
        image=image_of(job),
        failures=failed,
        interruptions=stopped,
    )


def _state(job: Json, pods: Sequence[Json], spec: FineTuneJobSpec, choice: TrainingChoice) -> RunState:
    if "deletionTimestamp" in job["metadata"]:
        return RunState("Leaving", "Stopping", "the training pod writes a checkpoint and stops")
    killed = next((p for p in pods if job_state.out_of_memory(p, TRAIN)), None)
    if killed is not None:
        return _killed(killed, choice)
    if job_state.has(job, "Complete"):
        result = job_state.told(pods, TRAIN, "result")
        if result is None:
            return RunState(
                "Lost", "ResultLost", "training ended, but its result is gone with its pod; reading it again"
            )
        return RunState("Succeeded", "Finished", f"{result['totalSteps']} steps", result=result)
    if job_state.has(job, *job_state.FAILED):
        return _failed(job, pods)
    return _under_way(job, pods, spec)


def _under_way(job: Json, pods: Sequence[Json], spec: FineTuneJobSpec) -> RunState:
    if job["spec"].get("suspend"):
        queue = spec.scheduling.queue_name if spec.scheduling else None
        return RunState("Queued", "Queued", f"waits in queue {queue} to be admitted by Kueue")
    running = [p for p in pods if p.get("status", {}).get("phase") == "Running"]
    if any("deletionTimestamp" not in p["metadata"] for p in running):
        return RunState("Running", "Running", "training")
    waiting = [p for p in pods if p.get("status", {}).get("phase", "Pending") == "Pending"]
    found = trouble(waiting)
    if found is not None:
        return RunState("Waiting", found.reason, found.message, retryable=True)
    last = next((e for p in pods if (e := job_state.end_of(p, TRAIN))), None)
    if last is not None and last.get("exitCode") == INTERRUPTED:
        return RunState("Waiting", "Resuming", "interrupted after a checkpoint; a new pod resumes there")
    return RunState("Waiting", "Starting", "the training pod is being started")


def _failed(job: Json, pods: Sequence[Json]) -> RunState:
    error = job_state.told(pods, TRAIN, "error")
    if error is not None:
        return RunState("Failed", error["class"], error["message"], suggestion=error.get("suggestion", ""))
    last = next((e for p in pods if (e := job_state.end_of(p, TRAIN))), None)
    said = job_state.reason_of_failure(job)
    code = f"the last pod ended with exit code {last.get('exitCode')}; " if last else ""
    return RunState("Failed", "TrainingFailed", f"{code}{said.get('message', '')}", suggestion="see the pod's log")


def _killed(pod: Json, choice: TrainingChoice) -> RunState:
    limit = job_state.memory_limit(pod, TRAIN)
    parts = ", ".join(f"{name} {gib(size)}" for name, size in choice.memory.items)
    error: Json = (result_of(pod, TRAIN) or {}).get("error", {})
    how = error.get("message") or f"the training pod was ended for using more memory than its limit of {limit}"
    message = f"{how}; planned were {gib(choice.memory.planned)}: {parts}"
    suggestion = (
        "raise podOverrides.resources.limits.memory here, or create a new FineTuneJob with a smaller "
        "training.microBatchSize or maxSequenceLength"
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
