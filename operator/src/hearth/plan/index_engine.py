"""The engine of a VectorIndex: whether it can be made, whether it answers, and how its volume grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hearth.api.base import Json, quantity
from hearth.api.vectorindex import VectorIndexSpec
from hearth.plan.conditions import Condition
from hearth.plan.pod_delay import NO_POD, NO_PODS, Delay, no_pod_delay, run_delay
from hearth.plan.pod_trouble import trouble
from hearth.plan.storage_class import class_name, expandable, storage_class
from hearth.plan.transition import condition
from hearth.plan.world import Action, Apply, Delete, ObjectKey, World, is_observed, key_of
from hearth.render.labels import COMPONENT, owner_labels
from hearth.render.milvus import (
    EngineChoice,
    claim_name,
    config_map,
    default_size,
    disruption_budget,
    endpoint,
    milvus_name,
    services,
    stateful_set,
)

TYPE = "EngineReady"
STARTING = "Starting"

FILE_DRIVERS = ("nfs", "smb", "cephfs", "efs.csi", "file.csi.azure", "filestore", "azurefile", "glusterfs", "lustre")
"""Parts of the provisioner names of file systems that are served over a network."""


@dataclass(frozen=True, slots=True)
class EngineState:
    """The outcome for the engine."""

    condition: Condition
    actions: tuple[Action, ...] = ()
    endpoint: str | None = None
    identity: str | None = None
    """The engine as a build depends on it: its image and its volume. None while the volume is not known."""
    image: str | None = None
    storage: Json = field(default_factory=dict)
    stalled: bool = False
    waiting_on: str | None = None
    refusal: Condition | None = None
    """Something that the spec asks for and that is not done, while the engine runs on as it is."""
    look_again: timedelta | None = None
    """When something may be overdue that no watch tells of."""

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.condition.status == "True"


def claim_key(owner: Json) -> ObjectKey:
    """The claim of the engine's volume."""
    meta = owner["metadata"]
    return ObjectKey("PersistentVolumeClaim", meta["namespace"], claim_name(meta["name"]))


def engine_state(world: World, spec: VectorIndexSpec, now: datetime) -> EngineState:
    """What is written for the engine, and how it is."""
    external = spec.milvus.external
    if external is not None:
        told = Condition(TYPE, "True", "External", f"{external.uri} is run by somebody else")
        return EngineState(told, endpoint=external.uri, identity=external.uri)
    refused = _storage_refusal(world, spec)
    name = milvus_name(world.owner["metadata"]["name"])
    if refused is not None and world.child("StatefulSet", name) is None:
        return refused
    return _running(world, spec, refused, now)


def _storage_refusal(world: World, spec: VectorIndexSpec) -> EngineState | None:
    """Why the volume cannot be made as the spec asks for it."""
    name = _class_name(world, spec)
    found = storage_class(world, name)
    if found is None:
        if name is None or world.related.get(claim_key(world.owner)) is not None:
            return None
        message = f"StorageClass {name} does not exist: create it, or name another one in spec.milvus.storage"
        told = Condition(TYPE, "False", "StorageClassNotFound", message)
        return EngineState(told, waiting_on=f"StorageClass {name}")
    driver = str(found.get("provisioner", ""))
    allowed = spec.milvus.storage is not None and spec.milvus.storage.allow_file
    if spec.milvus.topology == "Standalone" and not allowed and any(part in driver for part in FILE_DRIVERS):
        message = (
            f"StorageClass {name} ({driver}) gives a network file system, and Standalone needs a block volume: its "
            "etcd and its log rely on fsync and file locks. Name a block StorageClass, or set storage.allowFile: true"
        )
        return EngineState(Condition(TYPE, "False", "FileStorage", message), stalled=True)
    return None


def _class_name(world: World, spec: VectorIndexSpec) -> str | None:
    named = spec.milvus.storage.storage_class_name if spec.milvus.storage else None
    return class_name(world, named, world.related.get(claim_key(world.owner)))


@dataclass(frozen=True, slots=True)
class _Volume:
    """How the volume's size stands. `template` is what the StatefulSet's template has to say now."""

    wanted: str
    template: str
    effective: str
    """What may be counted on now: the quota on data follows it."""
    actions: tuple[Action, ...] = ()
    recreate: bool = False
    note: str = ""
    refusal: Condition | None = None


def _running(world: World, spec: VectorIndexSpec, refused: EngineState | None, now: datetime) -> EngineState:
    owner, topology = world.owner, spec.milvus.topology
    name = milvus_name(owner["metadata"]["name"])
    live = world.child("StatefulSet", name)
    volume = _volume(world, spec, live)
    image = spec.milvus.image or _installed(world, topology)
    storage = spec.milvus.storage
    choice = EngineChoice(
        image=image,
        size=volume.template,
        storage_class=storage.storage_class_name if storage else None,
        access_mode=(storage.access_mode if storage else None) or "ReadWriteOnce",
        suspended=spec.suspend,
    )
    objects = [*services(owner, topology), disruption_budget(owner)]
    if topology == "Standalone":
        objects.append(config_map(owner, volume.effective))
    actions: list[Action] = [Apply(o) for o in objects]
    if volume.recreate and live is not None:
        actions.append(Delete(key_of(live), live["metadata"]["uid"], "Orphan"))
    else:
        actions.append(Apply(stateful_set(owner, spec, choice)))
    claim = world.related.get(claim_key(owner))
    health = _health(world, spec, live, volume, now)
    return replace(
        health,
        actions=(*actions, *volume.actions),
        endpoint=endpoint(owner, world.settings.cluster_domain),
        identity=f"{image} {claim['metadata']['uid']}" if claim else None,
        image=image,
        storage=_storage_status(owner, volume, claim),
        refusal=volume.refusal or (refused.condition if refused else None),
    )


def _installed(world: World, topology: str) -> str:
    images = world.settings.images
    return images.milvus if topology == "Standalone" else images.milvus_lite


def _volume(world: World, spec: VectorIndexSpec, live: Json | None) -> _Volume:
    """Grows in three steps: the claim asks for more; when it has it, the StatefulSet goes alone and comes back."""
    wanted = default_size(spec)
    claim = world.related.get(claim_key(world.owner))
    template = _template_size(live) or wanted
    if claim is None:
        # Nothing is kept on it: the template may be replaced right away.
        differs = live is not None and quantity(template) != quantity(wanted)
        return _Volume(wanted, wanted, wanted, recreate=differs)
    asked = claim["spec"]["resources"]["requests"]["storage"]
    capacity = claim.get("status", {}).get("capacity", {}).get("storage", asked)
    if quantity(wanted) < quantity(asked):
        return _Volume(wanted, template if live else asked, asked, refusal=_shrink(wanted, asked))
    name = _class_name(world, spec)
    if quantity(wanted) > quantity(asked) and not expandable(world, name):
        return _Volume(wanted, template if live else asked, asked, refusal=_cannot_grow(name, wanted, asked))
    grow: tuple[Action, ...] = (Apply(_claim(world.owner, wanted), owned=False),)
    if quantity(capacity) < quantity(wanted):
        note = f"the volume grows from {capacity} to {wanted}"
        return _Volume(wanted, template, capacity, grow, note=note)
    differs = live is not None and quantity(template) != quantity(wanted)
    return _Volume(wanted, wanted, wanted, grow, recreate=differs)


def _template_size(live: Json | None) -> str | None:
    if live is None:
        return None
    return str(live["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"])


def _shrink(wanted: str, asked: str) -> Condition:
    message = f"the volume has {asked} and cannot shrink to {wanted}: set storage.size to {asked} or more"
    return Condition("Stalled", "True", "VolumeCannotShrink", message)


def _cannot_grow(name: str | None, wanted: str, asked: str) -> Condition:
    message = (
        f"the volume has {asked} and cannot grow to {wanted}: StorageClass {name} does not allow it "
        "(allowVolumeExpansion). Allow it there, or make another VectorIndex on a class that does"
    )
    return Condition("Stalled", "True", "VolumeCannotGrow", message)


def _claim(owner: Json, size: str) -> Json:
    """What we ask of the claim that the StatefulSet controller made; the rest of it is not ours."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(owner["metadata"]["name"]), "labels": owner_labels(owner)},
        "spec": {"resources": {"requests": {"storage": size}}},
    }


def _storage_status(owner: Json, volume: _Volume, claim: Json | None) -> Json:
    told = {"claim": claim_name(owner["metadata"]["name"]), "size": volume.wanted}
    capacity = (claim or {}).get("status", {}).get("capacity", {}).get("storage")
    return told | ({"capacity": capacity} if capacity else {})


def _health(world: World, spec: VectorIndexSpec, live: Json | None, volume: _Volume, now: datetime) -> EngineState:
    """The condition, whether somebody has to act, and what is waited for."""
    if spec.suspend:
        return EngineState(Condition(TYPE, "False", "Suspended", "the engine is stopped; its volume stays"))
    pods = world.pods_labelled(COMPONENT, "milvus")
    if any(_is_ready(p) for p in pods):
        kept = "stays" if spec.deletion_policy == "Retain" else "goes"
        claim = claim_name(world.owner["metadata"]["name"])
        message = f"answers; its data is on PersistentVolumeClaim {claim}, which {kept} when the index is deleted"
        return EngineState(Condition(TYPE, "True", "Answers", f"{message}; {volume.note}" if volume.note else message))
    if volume.recreate:
        message = "the StatefulSet is made again with the larger volume in its template; its pod runs on"
        return EngineState(Condition(TYPE, "True", "Growing", message))
    delay = _delay(world, live, pods, now)
    found = trouble(pods) or delay.trouble
    if found is not None:
        told = Condition(TYPE, "False", found.reason, f"Milvus does not run: {found.message}")
        waits_for = "a node" if found.reason == "Unschedulable" else _first_pod(world)
        return EngineState(told, stalled=found.lasting, waiting_on=None if found.lasting else waits_for)
    message = "Milvus is starting" if live is not None else "Milvus is being made"
    return EngineState(
        Condition(TYPE, "False", STARTING, message),
        waiting_on=None if pods else _first_pod(world),
        look_again=delay.look_again,
    )


def _delay(world: World, live: Json | None, pods: Sequence[Json], now: datetime) -> Delay:
    """What is overdue. A StatefulSet may be old, and its pod have gone just now: waiting begins when that is told."""
    if pods or live is None or not is_observed(live):  # its controller makes the pod in the pass in which it says so
        return run_delay(pods, now)
    status = world.owner.get("status", {})
    before, pending = condition(status, TYPE), status.get("pending", {})
    since = now
    if pending.get("reason") == STARTING and _first_pod(world) in pending.get("waitingOn", ()):
        since = datetime.fromisoformat(pending["since"])
    elif before.get("observedGeneration") == world.owner["metadata"].get("generation") and before["reason"] == NO_PODS:
        since = datetime.fromisoformat(before["lastTransitionTime"]) - NO_POD  # it still has none
    return no_pod_delay(live, since, now)


def _first_pod(world: World) -> str:
    return f"pod {milvus_name(world.owner['metadata']['name'])}-0"


def _is_ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    alive = "deletionTimestamp" not in pod["metadata"]
    return alive and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
