"""The claim that a service's weights lie on, and whether the pods that read it have to share a node."""

from __future__ import annotations

from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.plan.volume_wait import Claim
from hearth.plan.world import ObjectKey, World
from hearth.render.training_job import claim_name

SHARED = {"ReadWriteMany", "ReadOnlyMany"}
"""Access modes with which pods on several nodes can mount a volume (core/v1 PersistentVolumeAccessMode)."""


def claim_keys(owner: Json, spec: LLMServiceSpec) -> set[ObjectKey]:
    """The claims of the model that the spec names and of the one that is served."""
    tuned = spec.model.from_fine_tune
    names = {
        claim_of(spec.model.uri),
        claim_name({"metadata": {"name": tuned.name}}) if tuned is not None else None,
        claim_of((owner.get("status") or {}).get("resolved", {}).get("model", {}).get("source")),
    }
    return {_key(owner, name) for name in names if name is not None}


def claim_of(uri: str | None) -> str | None:
    """The claim that a URI names; None for other sources."""
    scheme, _, rest = (uri or "").partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else None


def mounted_claim(world: World, uri: str | None) -> Claim | None:
    """This URI's claim, with the modes of the volume that is bound to it, else those asked for; None without a claim.

    Of a claim that is not there no mode is known.
    """
    name = claim_of(uri)
    if name is None:
        return None
    found = world.related.get(_key(world.owner, name)) or {}
    modes = found.get("status", {}).get("accessModes") or found.get("spec", {}).get("accessModes", [])
    return Claim(name, tuple(modes), one_node=bool(modes) and not SHARED.intersection(modes))


def claim_of_one_node(world: World, uri: str | None) -> str | None:
    """The name of this URI's claim where one node at a time can mount it; None where nothing says so."""
    claim = mounted_claim(world, uri)
    return claim.name if claim is not None and claim.one_node else None


def _key(owner: Json, claim: str) -> ObjectKey:
    return ObjectKey("PersistentVolumeClaim", owner["metadata"]["namespace"], claim)
