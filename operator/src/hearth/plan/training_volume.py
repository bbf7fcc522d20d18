"""The volume of a FineTuneJob: checkpoints and artifacts. It only ever grows, and outlives who serves from it."""

from __future__ import annotations

from hearth.api.base import Json, quantity
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.model_facts import ResolvedModel
from hearth.plan.conditions import Condition
from hearth.plan.finetunejob_status import Outcome
from hearth.plan.storage_class import expandable, storage_class
from hearth.plan.training_choice import TrainingChoice
from hearth.plan.world import Apply, ObjectKey, World
from hearth.render.training_job import claim, claim_name

GIB = 2**30


def claim_key(owner: Json) -> ObjectKey:
    """The claim of the job's volume."""
    return ObjectKey("PersistentVolumeClaim", owner["metadata"]["namespace"], claim_name(owner))


def missing_class(world: World, spec: FineTuneJobSpec) -> Outcome | None:
    """What to say where no volume can be made; None where one can, or is there."""
    storage = spec.checkpoints.storage if spec.checkpoints else None
    name = storage.storage_class_name if storage else None
    if name is None or storage_class(world, name) is not None or world.related.get(claim_key(world.owner)) is not None:
        return None
    message = (
        f"StorageClass {name} does not exist, so no volume can be made; create it, or set "
        "checkpoints.storage.storageClassName to one that `kubectl get storageclass` lists"
    )
    own = (Condition("Admitted", "False", "StorageClassNotFound", message),)
    return Outcome("StorageClassNotFound", message, own, waiting_on=(f"StorageClass {name}",))


def apply_claim(world: World, spec: FineTuneJobSpec, size: int | None) -> Apply:
    """The claim as a child only where it may go with its owner: weights that somebody serves are never deleted.

    `size` is the floor in bytes; None leaves a claim that is there as large as it is.
    """
    wanted = claim(world.owner, spec, size or 0)
    found = world.related.get(claim_key(world.owner))
    if found is not None:
        # What is bound stays bound, and a volume cannot shrink: only growth is ever asked for.
        kept = {k: found["spec"][k] for k in ("accessModes", "storageClassName") if k in wanted["spec"]}
        have, asked = _requested(found), _requested(wanted)
        grows = size is not None and quantity(asked) > quantity(have) and _may_grow(world, found)
        wanted["spec"] = {**wanted["spec"], **kept, "resources": {"requests": {"storage": asked if grows else have}}}
    policy = spec.output.deletion_policy if spec.output else "Retain"
    return Apply(wanted, owned=policy == "Delete" and not world.dependents)


def _may_grow(world: World, found: Json) -> bool:
    return expandable(world, found["spec"].get("storageClassName"))


def cannot_grow(world: World, spec: FineTuneJobSpec) -> str | None:
    """Why the volume stays smaller than the size that the spec asks for; None where it does not."""
    found = world.related.get(claim_key(world.owner))
    asked = spec.checkpoints.storage.size if spec.checkpoints and spec.checkpoints.storage else None
    if found is None or asked is None or quantity(asked) <= quantity(_requested(found)):
        return None
    if _may_grow(world, found):
        return None
    have = _requested(found)
    return (
        f"the volume has {have} and cannot grow to {asked}: StorageClass {found['spec']['storageClassName']} does not "
        f"allow it (allowVolumeExpansion). Allow it there, or set checkpoints.storage.size to {have}"
    )


def growing(world: World) -> str | None:
    """That the volume is being made larger, in words; None once a pod that starts would see the new size.

    The file system itself grows when the volume is mounted: the claim then says that only this is left to do.
    """
    found = world.related.get(claim_key(world.owner))
    status: Json = (found or {}).get("status", {})
    capacity = status.get("capacity", {}).get("storage")
    if found is None or capacity is None or quantity(capacity) >= quantity(_requested(found)):
        return None
    left = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
    if "FileSystemResizePending" in left or status.get("allocatedResourceStatuses", {}).get("storage") == MOUNT_LEFT:
        return None
    return f"the volume grows from {capacity} to {_requested(found)}"


MOUNT_LEFT = "NodeResizePending"
"""Kubernetes' word for a volume that is larger and whose file system is not (PersistentVolumeClaimStatus)."""


def volume_size(spec: FineTuneJobSpec, model: ResolvedModel, choice: TrainingChoice) -> int:
    """Bytes for the merged model and its draft, the checkpoints with optimizer state, and a model from the hub."""
    adapter = dict(choice.memory.items)["adapter"]
    keep = (spec.checkpoints.keep if spec.checkpoints else None) or 2
    assert spec.model.uri is not None
    fetched = model.weight_bytes if spec.model.uri.startswith("hf://") else 0
    return int(2.2 * model.weight_bytes) + (keep + 2) * 3 * adapter + fetched + GIB


def _requested(wanted: Json) -> str:
    return str(wanted["spec"]["resources"]["requests"]["storage"])
