"""VectorIndex: from a spec and what is there to an engine, a build and the status."""

from __future__ import annotations

from datetime import datetime

from hearth.api.base import Json
from hearth.api.vectorindex import KIND, VectorIndexSpec
from hearth.plan.conditions import Condition, merge, stalled
from hearth.plan.index_build import BuildState, build_state, stopped
from hearth.plan.index_engine import claim_key, engine_state
from hearth.plan.index_inputs import embedder_keys, embedders_state, keys, sources_state
from hearth.plan.index_match import serving_embedder_keys
from hearth.plan.quiet import settle, while_pods_are_new
from hearth.plan.status_parts import failure
from hearth.plan.validation import Invalid, parse
from hearth.plan.vectorindex_status import compose_status, events
from hearth.plan.world import KindPlan, ObjectKey, Plan, World


def needs(owner: Json) -> frozenset[ObjectKey]:
    """Sources, embedders (those of the build that serves too) and the engine's claim."""
    spec = parse(VectorIndexSpec, owner.get("spec", {}))
    if isinstance(spec, Invalid):
        return frozenset()
    found = {*keys(owner, spec), *embedder_keys(owner, spec), *serving_embedder_keys(owner)}
    if spec.milvus.topology != "External":
        found.add(claim_key(owner))
    return frozenset(found)


def refers_to(owner: Json) -> frozenset[ObjectKey]:
    """The LLMServices that embed. A spec that does not parse refers to nothing."""
    spec = parse(VectorIndexSpec, owner.get("spec", {}))
    return frozenset() if isinstance(spec, Invalid) else embedder_keys(owner, spec)


def plan(world: World, now: datetime) -> Plan:
    """What to write for this index in this world."""
    spec = parse(VectorIndexSpec, world.owner.get("spec", {}))
    if isinstance(spec, Invalid):
        return _invalid(world, spec, now)
    engine = engine_state(world, spec, now)
    sources = sources_state(world, spec)
    if spec.suspend:
        told = Condition("Indexed", "False", "Suspended", "nothing is built while suspended")
        build = BuildState(told, actions=stopped(world))
    else:
        build = build_state(world, spec, engine, sources, embedders_state(world, spec), now)
    status = compose_status(world, spec, engine, sources, build, now)
    made = Plan(
        status=status,
        actions=(*engine.actions, *build.actions),
        events=events(world.owner.get("status", {}), status),
        look_again=min((t for t in (engine.look_again, build.look_again) if t is not None), default=None),
    )
    return settle(made, world, now, while_pods_are_new(world))


def _invalid(world: World, spec: Invalid, now: datetime) -> Plan:
    """What runs stays as it is, and what is on record too."""
    live, generation = world.owner.get("status", {}), world.owner["metadata"].get("generation", 0)
    summary = stalled("InvalidSpec", spec.message)
    others = [c for c in live.get("conditions", []) if c["type"] not in {s.type for s in summary}]
    status: Json = {
        **{key: value for key, value in live.items() if key != "pending"},
        "observedGeneration": generation,
        "phase": "Stalled",
        "conditions": [*merge(live.get("conditions", []), summary, generation, now), *others],
        "failure": failure("InvalidSpec", spec.message, retryable=False),
    }
    return Plan(status=status, events=events(live, status))


KIND_PLAN = KindPlan(kind=KIND.kind, plural=KIND.plural, needs=needs, refers_to=refers_to, plan=plan)
