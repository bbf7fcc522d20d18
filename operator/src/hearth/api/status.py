"""What the status of every kind has in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, ListMap, ListSet, Timestamp

Text = Annotated[str, StringConstraints(max_length=1024)]
"""One sentence or a few, for people."""

CamelCase = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
"""A word that programs may compare: a reason, a class of failure, a phase."""


class StatusCondition(ApiModel):
    """One aspect of the resource, as in metav1.Condition."""

    type: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=64)]
    """What the condition is about: Ready, Reconciling, Stalled or one of the kind's own."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown."""
    reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)]
    """Why, as one CamelCase word."""
    message: Annotated[str, StringConstraints(max_length=32768)]
    """Why, for people: what was found, what was expected, what to do next."""
    last_transition_time: Timestamp
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The metadata.generation that this condition speaks of."""


class Alternative(ApiModel):
    """A change that would let a waiting resource go on."""

    change: Text
    """The edit, in words that name the field and the value."""
    frees: Text | None = None
    """What it would free, for example GPUs."""


class Pending(ApiModel):
    """What the resource waits for. Absent when it waits for nothing."""

    since: Timestamp
    """When it began to wait."""
    reason: CamelCase
    """Why, as one word."""
    waiting_on: Annotated[list[Text], Field(max_length=50), ListSet()] | None = None
    """What it waits for, such as `Secret hub` or `2 nvidia.com/gpu`."""
    alternatives: Annotated[list[Alternative], Field(max_length=50), ListMap(("change",))] | None = None
    """What could be changed instead of waiting."""


class Failure(ApiModel):
    """Why the resource failed. Absent when it did not."""

    class_: Annotated[CamelCase, Field(alias="class")]
    """What kind of failure, for example OutOfMemory, BadData, ModelNotFound."""
    retryable: bool
    """Whether the operator tries again by itself."""
    message: Annotated[str, StringConstraints(max_length=4096)]
    """What happened, with the numbers."""
    suggestion: Text | None = None
    """What to change."""


class StatusBase(ApiModel):
    """The part of the status that every kind has. Written by the operator alone, by server-side apply."""

    observed_generation: Annotated[int, Field(ge=-1)] | None = None
    """The metadata.generation that this status speaks of; -1 before the operator has seen the resource."""
    phase: CamelCase | None = None
    """A summary for people. Programs read `conditions`."""
    conditions: Annotated[list[StatusCondition], Field(max_length=32), ListMap(("type",))] | None = None
    """Ready, Reconciling and Stalled by the kstatus rules, then the kind's own."""
    pending: Pending | None = None
    """What the resource waits for."""
    failure: Failure | None = None
    """Why it failed."""
