"""Plans made from the objects as the API server has them, and from what the operator keeps of them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from hearth.api.base import ApiModel, Json
from hearth.api.finetunejob_status import FineTuneJobStatus
from hearth.api.llmservice_status import LLMServiceStatus
from hearth.api.vectorindex_status import VectorIndexStatus
from hearth.plan.seen import seen
from hearth.plan.world import Plan, World

STATUSES: dict[str, type[ApiModel]] = {
    "FineTuneJob": FineTuneJobStatus,
    "LLMService": LLMServiceStatus,
    "VectorIndex": VectorIndexStatus,
}


def planned(plan: Callable[[World, datetime], Plan], world: World, now: datetime) -> Plan:
    """The plan, which must be the same from the little that is kept of children and pods.

    Its status must be one that the API server takes: one word or sentence out of bounds, and it refuses all of it.
    """
    made = plan(world, now)
    STATUSES[world.owner["kind"]].model_validate(made.status)
    kept = replace(
        world,
        owner=seen(world.owner),
        children=tuple(map(seen, world.children)),
        pods=tuple(seen(_pod(pod)) for pod in world.pods),
        replica_sets=tuple(map(seen, world.replica_sets)),
    )
    assert plan(kept, now) == made
    return made


def _pod(obj: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", **obj}
