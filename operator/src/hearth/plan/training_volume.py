"""The volume of a FineTuneJob: checkpoints and artifacts. It only ever grows, and outlives who serves from it."""

from __future__ import annotations

from hearth.api.base import Json, quantity
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.model_facts import ResolvedModel
from hearth.api.shapes import Storage
from hearth.plan.conditions import Condition
from hearth.plan.finetunejob_status import Outcome
from hearth.plan.storage_class import class_name, expandable, storage_class
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
    if not name or storage_class(world, name) is not None or world.related.get(claim_key(world.owner)) is not None:
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
    body = {k: v for k, v in wanted["spec"].items() if k != "storageClassName"} | _class(world, spec, found)
    if found is not None:
        # What is there stays as it is, and a volume cannot shrink: only growth is ever asked for.
        have, asked = _requested(found), _requested(wanted)
        grows = size is not None and quantity(asked) > quantity(have) and _may_grow(world, found)
        body |= {"accessModes": found["spec"]["accessModes"]}
        body |= {"resources": {"requests": {"storage": asked if grows else have}}}
    wanted["spec"] = body
    policy = spec.output.deletion_policy if spec.output else "Retain"
    return Apply(wanted, owned=policy == "Delete" and not world.dependents)


def _class(world: World, spec: FineTuneJobSpec, found: Json | None) -> Json:
    """The claim's class, always by its name: one that is left out would be taken off a claim that has it from us.

    A claim without a class can be given one until it is bound. An empty name asks for a volume without a class.
    """
    held = {} if found is None else {k: v for k, v in found["spec"].items() if k == "storageClassName"}
    if held or (found is not None and "volumeName" in found["spec"]):
        return held
    named = _storage(spec).storage_class_name
    chosen = class_name(world, None, None) if named is None else named
    return {} if chosen is None else {"storageClassName": chosen}


def _storage(spec: FineTuneJobSpec) -> Storage:
    return (spec.checkpoints.storage if spec.checkpoints else None) or Storage()


def not_taken(world: World, spec: FineTuneJobSpec) -> str | None:
    """What the spec asks of the volume that the one which is there does not take on; None where there is nothing."""
    found = world.related.get(claim_key(world.owner))
    if found is None:
        return None
    wanted, has = _storage(spec), _class(world, spec, found).get("storageClassName", "")
    stays = []
    if wanted.storage_class_name not in (None, has):
        stays.append(f"StorageClass {has or 'none'} and not {wanted.storage_class_name or 'none'}")
    modes = found["spec"]["accessModes"]
    if wanted.access_mode is not None and wanted.access_mode not in modes:
        stays.append(f"{', '.join(modes)} and not {wanted.access_mode}")
    have = _requested(found)
    if wanted.size is not None and quantity(wanted.size) < quantity(have):
        stays.append(f"{have} and not {wanted.size}")
    return f"the volume stays as it is, with {'; '.join(stays)}" if stays else None


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
