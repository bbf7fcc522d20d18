"""Which change of the spec makes another training pod, and what who reads of a failure is told of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hearth.api.base import Json
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.render.training_job import OUTPUT_HASH, ROOM_HASH, TEMPLATE_HASH, changeable, published, room

CURES: Mapping[str, tuple[str, Callable[[FineTuneJobSpec], str], str]] = {
    "DiskFull": (ROOM_HASH, room, "spec.checkpoints gives more room than when the volume was full"),
    "MergeChangedModel": (OUTPUT_HASH, published, "spec.output has changed since merging failed"),
    "WrittenModelDiffers": (OUTPUT_HASH, published, "spec.output has changed since merging failed"),
}
"""By the class of a failure: the annotation for the part of spec that the trainer's advice is about, what it would be
now, and what is told where that is something else. A Job that runs needs no other pod for it."""

RETRY = "a change of budget.retries or podOverrides tries again from the newest checkpoint"


def outdated(job: Json, spec: FineTuneJobSpec, reason: str) -> bool:
    """Whether another pod is to take over from one that runs, or that ended for this reason.

    Annotations that an earlier version did not write say nothing.
    """
    told = job["metadata"].get("annotations", {})
    now = {TEMPLATE_HASH: changeable(spec)}
    if reason in CURES:
        annotation, digest, _ = CURES[reason]
        now[annotation] = digest(spec)
    return any(told.get(annotation, digest) != digest for annotation, digest in now.items())


def why_again(reason: str) -> str:
    """What is told of a change after which another pod takes over."""
    why = CURES[reason][2] if reason in CURES else "the pod's part of spec has changed"
    return f"{why}; a new pod resumes"


def advice(reason: str, suggestion: str) -> str:
    """The trainer's suggestion, with what makes the job try again once it has been followed."""
    if reason in CURES:
        return suggestion
    more = f"once that is mended, {RETRY}"
    if reason == "LossDiverged":
        more = "both are fixed here: create a new FineTuneJob"
    return f"{suggestion}; {more}" if suggestion else RETRY
