"""Which FineTuneJobs' volumes a resource reads: weights that somebody reads are not deleted with their job."""

from __future__ import annotations

from collections.abc import Iterable

from hearth.api.base import Json
from hearth.plan.world import ObjectKey
from hearth.render.training_job import job_of_claim


def fine_tune_key(owner: Json, name: str) -> ObjectKey:
    """The key of a FineTuneJob beside the resource."""
    return ObjectKey("FineTuneJob", owner["metadata"]["namespace"], name)


def volumes_of(owner: Json, uris: Iterable[str | None]) -> set[ObjectKey]:
    """The FineTuneJobs on whose claims these sources lie."""
    claims = [uri.removeprefix("pvc://").partition("/")[0] for uri in uris if uri and uri.startswith("pvc://")]
    return {fine_tune_key(owner, name) for claim in claims if (name := job_of_claim(claim)) is not None}


def served_models(owner: Json) -> set[ObjectKey]:
    """The FineTuneJobs whose weights an LLMService serves, whatever its spec names by now."""
    status = owner.get("status") or {}
    resolved = status.get("resolved", {})
    found = volumes_of(owner, (status.get("model", {}).get("uri"), resolved.get("model", {}).get("source")))
    name = resolved.get("fineTuneJob", {}).get("name")
    return found | ({fine_tune_key(owner, name)} if name else set())
