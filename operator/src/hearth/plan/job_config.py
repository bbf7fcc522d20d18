"""The configuration of a Job's pods, which has to stay in the words of the image that reads it."""

from __future__ import annotations

from collections.abc import Collection

from hearth.api.base import Json
from hearth.plan.world import World


def as_read_by(world: World, job: Json | None, wanted: Json, keys: Collection[str], image: str) -> Json:
    """The ConfigMap `wanted`; its `keys` as they are where the live Job that reads them runs another image than ours.

    A Job keeps the image that it was made with, and its next pod reads the ConfigMap anew. The images refuse what they
    do not know, so what an upgraded operator writes for its own image would end a Job that only had to resume.
    """
    return wanted if job is None or image_of(job) == image else as_it_is(world, wanted, keys)


def as_it_is(world: World, wanted: Json, keys: Collection[str]) -> Json:
    """The ConfigMap `wanted`; its `keys` as they are where it is there."""
    live = world.child("ConfigMap", wanted["metadata"]["name"]) or {}
    held: Json = live.get("data", {})
    return {**wanted, "data": wanted["data"] | {key: held[key] for key in keys if key in held}}


def image_of(job: Json) -> str:
    """The image of the container that does the work."""
    return str(job["spec"]["template"]["spec"]["containers"][0]["image"])
