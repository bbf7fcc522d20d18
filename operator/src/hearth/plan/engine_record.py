"""What an engine was made from, on record with the engine itself.

The facts of a model come from a Job that goes two minutes after it has ended, and a device is chosen among the nodes of
one moment. Neither can be found out again, so both are written down in the same write that makes something of them: an
annotation of the engine's Deployment. The status repeats them, and may do so later.
"""

from __future__ import annotations

import orjson

from hearth.api.base import GROUP, Json
from hearth.api.model_facts import ResolvedModel
from hearth.plan.engine_sizing import Sizing
from hearth.plan.world import World
from hearth.render.vllm import engine_name

DECIDED = f"{GROUP}/decided"


def with_record(engine: Json, model: ResolvedModel, sizing: Sizing, fine_tune_job: str | None) -> Json:
    """The engine's Deployment with the record of what it is made from, in the words of status.resolved."""
    record: Json = {"model": facts(model), "device": sizing.device}
    if sizing.accelerator is not None:
        record["accelerator"] = sizing.accelerator.model_dump(by_alias=True, exclude_none=True)
    if fine_tune_job is not None:
        record["fineTuneJob"] = {"name": fine_tune_job}
    meta = engine["metadata"]
    written = {**meta["annotations"], DECIDED: orjson.dumps(record, option=orjson.OPT_SORT_KEYS).decode()}
    return {**engine, "metadata": {**meta, "annotations": written}}


def records(world: World) -> tuple[Json, ...]:
    """What is known to have been decided: status.resolved, and what the live engine was made from."""
    on_status: Json = world.owner.get("status", {}).get("resolved", {})
    engine = world.child("Deployment", engine_name(world.owner["metadata"]["name"]))
    written = ((engine or {}).get("metadata", {}).get("annotations") or {}).get(DECIDED, "{}")
    try:
        on_engine = orjson.loads(written)
    except orjson.JSONDecodeError:
        on_engine = {}
    return tuple(record for record in (on_status, on_engine) if isinstance(record, dict) and record)


def decided_for(world: World, model: ResolvedModel) -> Json | None:
    """The record that is about this model; that of another model where there is no such."""
    found = records(world)
    return next((r for r in found if r.get("model") == facts(model)), found[0] if found else None)


def facts(model: ResolvedModel) -> Json:
    """The model as the status has it."""
    written: Json = model.model_dump(by_alias=True, exclude_none=True)
    return written
