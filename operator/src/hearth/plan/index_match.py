"""Whether questions are embedded by the models that made an index: distances between others' vectors mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hearth.api.base import Json
from hearth.plan.conditions import Condition
from hearth.plan.world import ObjectKey, World

TYPE = "EmbeddersMatch"
SHOWN = 19
"""Characters of a digest that people are shown: the algorithm and twelve digits, as in file names of artifacts."""


def serving_embedder_keys(owner: Json) -> frozenset[ObjectKey]:
    """The LLMServices that made the vectors of the build that serves; the spec may name others by now."""
    embeddings = owner.get("status", {}).get("embeddings", [])
    return frozenset(_key(owner, e) for e in embeddings)


def match_condition(world: World, embeddings: Sequence[Json]) -> Condition:
    """The condition for the build that `embeddings` (as in the status) describe."""
    if not embeddings:
        return Condition(TYPE, "Unknown", "NoBuild", "nothing has been embedded yet")
    for embedding in embeddings:
        name = embedding["serviceRef"]["name"]
        service = world.related.get(_key(world.owner, embedding))
        if service is None:
            return Condition(TYPE, "Unknown", "EmbedderNotFound", f"LLMService {name} does not exist")
        now = service.get("status", {}).get("model", {}).get("digest")
        made_by = embedding.get("modelDigest")
        if now is not None and now != made_by:
            return Condition(
                TYPE,
                "False",
                "EmbedderChanged",
                f"LLMService {name} serves model {now[:SHOWN]} by now, and the vectors of embedding "
                f"{embedding['name']} were made by {str(made_by)[:SHOWN]}: questions wait for the next build",
            )
    return Condition(TYPE, "True", "SameModels", "questions are embedded by the models that made the vectors")


def _key(owner: Json, embedding: Json) -> ObjectKey:
    return ObjectKey("LLMService", owner["metadata"]["namespace"], embedding["serviceRef"]["name"])
