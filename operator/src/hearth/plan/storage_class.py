"""Which StorageClass a volume has, or would get."""

from __future__ import annotations

from hearth.api.base import Json
from hearth.plan.world import World

DEFAULT = "storageclass.kubernetes.io/is-default-class"
"""The annotation by which the API server finds the class of a claim that names none (admission DefaultStorageClass)."""


def class_name(world: World, named: str | None, claim: Json | None) -> str | None:
    """The class of the claim that is there, else the one that the spec names, else the cluster's default.

    None where none of them is known: a claim without a class binds to a volume without one.
    """
    bound = (claim or {}).get("spec", {}).get("storageClassName")
    return bound or named or _default(world)


def storage_class(world: World, name: str | None) -> Json | None:
    """The class of this name; None where there is none."""
    return next((c for c in world.storage_classes if c["metadata"]["name"] == name), None)


def expandable(world: World, name: str | None) -> bool:
    """Whether a volume of this class may grow; of a class that is not there the API server will say it."""
    found = storage_class(world, name)
    return found is None or bool(found.get("allowVolumeExpansion"))


def _default(world: World) -> str | None:
    """Of several defaults the newest is taken, as the API server does (KEP-3333)."""
    marked = [c for c in world.storage_classes if (c["metadata"].get("annotations") or {}).get(DEFAULT) == "true"]
    newest = max(marked, key=lambda c: c["metadata"].get("creationTimestamp") or "", default=None)
    return newest["metadata"]["name"] if newest else None
