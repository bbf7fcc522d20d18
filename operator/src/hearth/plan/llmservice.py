"""LLMService: from a spec and what is there to engine, gateway and status."""

from __future__ import annotations

from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.api.llmservice import KIND, LLMServiceSpec
from hearth.api.model_facts import ResolvedModel
from hearth.plan.conditions import Condition
from hearth.plan.engine_record import decided_for, with_record
from hearth.plan.engine_sizing import Sizing, size_engine, size_unmoved
from hearth.plan.fine_tune_reference import fine_tune_key, served_models, volumes_of
from hearth.plan.index_reference import IndexState, index_key, resolve_index
from hearth.plan.llmservice_status import Outcome, compose_status, events
from hearth.plan.memory import DoesNotFit, MemoryPlan
from hearth.plan.model_resolution import ModelState, inspections_under_way, recorded, resolve_model
from hearth.plan.quiet import settle, while_pods_are_made, while_pods_are_new
from hearth.plan.rollout import progress, same_template
from hearth.plan.served_claim import claim_keys, claim_of_one_node
from hearth.plan.service_health import EngineHealth, judge, still_open
from hearth.plan.transition import condition
from hearth.plan.validation import Invalid, parse
from hearth.plan.volume_wait import next_look
from hearth.plan.world import Action, Apply, Delete, KindPlan, ObjectKey, Plan, World, key_of
from hearth.render.gateway import (
    gateway_config,
    gateway_config_map,
    gateway_deployment,
    gateway_name,
    has_gateway,
)
from hearth.render.labels import COMPONENT
from hearth.render.network_policy import engine_behind_gateway
from hearth.render.vllm import (
    EngineChoice,
    disruption_budget,
    engine_config_map,
    engine_deployment,
    engine_name,
    service,
)


def needs(owner: Json) -> frozenset[ObjectKey]:
    """The FineTuneJob and the VectorIndex that the spec names, and the claim that the weights lie on."""
    spec = parse(LLMServiceSpec, owner.get("spec", {}))
    return frozenset() if isinstance(spec, Invalid) else frozenset(_named(owner, spec) | claim_keys(owner, spec))


def refers_to(owner: Json) -> frozenset[ObjectKey]:
    """What the spec names, and the FineTuneJobs whose weights are served by whatever way they were named.

    Of a spec that does not parse nothing is known; what is served stays in use.
    """
    spec = parse(LLMServiceSpec, owner.get("spec", {}))
    if isinstance(spec, Invalid):
        return frozenset(served_models(owner))
    return frozenset(_named(owner, spec) | served_models(owner) | volumes_of(owner, [spec.model.uri]))


def _named(owner: Json, spec: LLMServiceSpec) -> set[ObjectKey]:
    found = set()
    if spec.model.from_fine_tune is not None:
        found.add(fine_tune_key(owner, spec.model.from_fine_tune.name))
    if spec.rag is not None:
        found.add(index_key(owner, spec.rag.index_ref.name))
    return found


def plan(world: World, now: datetime) -> Plan:
    """What to write for this service in this world."""
    spec = parse(LLMServiceSpec, world.owner.get("spec", {}))
    if isinstance(spec, Invalid):
        return _told(world, Outcome(reason="InvalidSpec", message=spec.message, stalled=True), now)
    if spec.suspend:
        return _suspended(world, spec, now)
    model = resolve_model(world, spec, now)
    if model.model is None:
        return _without_model(world, spec, model, now)
    sizing = _sizing(world, spec, model, model.model)
    if isinstance(sizing.memory, DoesNotFit):
        return _refused(world, spec, model, sizing.memory, now)
    return _serving(world, spec, model, sizing, sizing.memory, now)


def _sizing(world: World, spec: LLMServiceSpec, state: ModelState, model: ResolvedModel) -> Sizing:
    """The engine's sizing on these nodes; what runs already is not judged again by nodes that have changed since."""
    resolved = decided_for(world, model)
    sizing = size_engine(spec, model, world.nodes, resolved)
    if sizing.device == "CPU" and isinstance(sizing.memory, MemoryPlan):
        return sizing
    unmoved = size_unmoved(spec, model, resolved)
    if unmoved is None or not isinstance(unmoved.memory, MemoryPlan):
        return sizing
    running = world.child("Deployment", engine_name(world.owner["metadata"]["name"]))
    wanted = engine_deployment(world.owner, spec, _choice(world, spec, state, model, unmoved, unmoved.memory), 1)
    return unmoved if running is not None and same_template(running, wanted) else sizing


def _told(
    world: World,
    outcome: Outcome,
    now: datetime,
    actions: tuple[Action, ...] = (),
    *,
    look_again: timedelta | None = None,
) -> Plan:
    """A plan that writes the outcome's status, with the Events that its change is worth."""
    status = compose_status(world, outcome, now)
    live = world.owner.get("status", {})
    waits = [wait for wait in (look_again, next_look(world.pods, now)) if wait is not None]
    made = Plan(status, actions, events(live, status), look_again=min(waits, default=None))
    ordinary = all(condition(s, "Ready").get("reason") in ORDINARY for s in (live, status))
    quiet_until = while_pods_are_made(world, actions, now) if ordinary else while_pods_are_new(world)
    return settle(made, world, now, quiet_until)


ORDINARY = ("Inspecting", "RollingOut")
"""Steps that every service takes. What is known after each is on the engine's record (`hearth.plan.engine_record`)."""


def _suspended(world: World, spec: LLMServiceSpec, now: datetime) -> Plan:
    """The pods go, draining as they do; Services, configuration and what was resolved stay."""
    name = world.owner["metadata"]["name"]
    live = [d for d in (world.child("Deployment", n) for n in (engine_name(name), gateway_name(name))) if d is not None]
    live += inspections_under_way(world)
    left = len(world.pods_labelled(COMPONENT, "engine"))
    message = f"suspended: {left} engine pods are draining" if left else "suspended: pods are gone, all else is kept"
    known = any(recorded(world))
    outcome = Outcome(
        reason="Suspended",
        message=message,
        spec=spec,
        own=(
            Condition("ModelReady", "True" if known else "Unknown", "Suspended", "nothing is read while suspended"),
            *(Condition(t, "False", "Suspended", message) for t in ("Scheduled", "Available", "RolledOut")),
        ),
        reconciling=bool(live) or left > 0,
    )
    return _told(world, outcome, now, tuple(_delete(d) for d in live))


def _delete(obj: Json) -> Delete:
    return Delete(key_of(obj), obj["metadata"]["uid"])


def _without_model(world: World, spec: LLMServiceSpec, model: ModelState, now: datetime) -> Plan:
    """The model is not known (yet): what serves stays exactly as it is."""
    health = judge(world, spec, None, None, now=now)
    outcome = Outcome(
        reason=model.condition.reason,
        message=_still_serving(model.condition.message, health),
        spec=spec,
        own=(model.condition, *health.conditions()),
        stalled=model.stalled,
        suggestion=model.suggestion,
        waiting_on=model.waiting_on,
        health=health,
    )
    actions = (Apply(engine_config_map(world.owner)), *model.actions)
    return _told(world, outcome, now, actions, look_again=model.look_again)


def _still_serving(message: str, health: EngineHealth) -> str:
    return f"{message}; the previous model is still served" if health.available else message


def _refused(world: World, spec: LLMServiceSpec, model: ModelState, refusal: DoesNotFit, now: datetime) -> Plan:
    """No pod is made for a plan that cannot work; what serves stays."""
    health = judge(world, spec, None, None, now=now)
    head, _, change = refusal.message.partition("Smallest change that fits: ")
    outcome = Outcome(
        reason="DoesNotFit",
        message=_still_serving(refusal.message, health),
        spec=spec,
        own=(model.condition, Condition("Scheduled", "False", "DoesNotFit", refusal.message), *health.conditions()[1:]),
        stalled=True,
        suggestion=change or head,
        health=health,
        model=model.model,
    )
    return _told(world, outcome, now, (Apply(engine_config_map(world.owner)), *model.actions))


def _serving(
    world: World, spec: LLMServiceSpec, model: ModelState, sizing: Sizing, memory: MemoryPlan, now: datetime
) -> Plan:
    assert model.model is not None
    index = resolve_index(world, spec)
    choice = _choice(world, spec, model, model.model, sizing, memory)
    engine = engine_deployment(world.owner, spec, choice, spec.replicas)
    engine = with_record(engine, model.model, sizing, model.fine_tune_job)
    front = _gateway(world, spec, choice, index) if has_gateway(spec) else _direct(world)
    gateway = next((o for o in front if o["kind"] == "Deployment"), None)
    objects = [engine_config_map(world.owner), engine, disruption_budget(world.owner, "engine"), *front]
    health = judge(world, spec, engine, gateway, now=now, memory=memory, choice=choice, index=index)
    outcome = Outcome(
        reason=health.reason,
        message=health.message,
        spec=spec,
        own=(model.condition, *health.conditions()),
        stalled=health.stalled,
        reconciling=health.reconciling,
        waiting_on=health.waiting_on,
        health=health,
        model=model.model,
        fine_tune_job=model.fine_tune_job,
        sizing=sizing,
        memory=memory,
        choice=choice,
        retrieval=index.retrieval if index else None,
    )
    leftovers = _leftovers(world, objects, complete=bool(front))
    actions = (*(Apply(o) for o in objects), *leftovers, *model.actions)
    return _told(world, outcome, now, actions, look_again=model.look_again)


def _choice(
    world: World, spec: LLMServiceSpec, state: ModelState, model: ResolvedModel, sizing: Sizing, memory: MemoryPlan
) -> EngineChoice:
    images = world.settings.images
    image = spec.engine.image if spec.engine and spec.engine.image else None
    on_cpu = sizing.device == "CPU"
    return EngineChoice(
        image=image or (images.vllm_cpu if on_cpu else images.vllm),
        uri=model.source,
        digest=model.digest,
        verify=state.fine_tune_job is not None,
        served_name=spec.served_name or world.owner["metadata"]["name"],
        device=sizing.device,
        accelerator=sizing.accelerator,
        max_model_len=memory.max_model_len,
        max_concurrency=memory.max_concurrency,
        weight_bytes=model.weight_bytes,
        kv_cache_bytes=memory.kv_cache if on_cpu else 0,
        memory_bytes=memory.planned if on_cpu else GPU_HOST_MEMORY,
        revision=model.revision,
        claim=claim_of_one_node(world, model.source),
    )


GPU_HOST_MEMORY = 4 * 2**30
"""Main memory asked for beside GPUs, where the spec says nothing: two Python processes and their shared memory."""


def _direct(world: World) -> list[Json]:
    return [service(world.owner, world.owner["metadata"]["name"], "engine")]


def _gateway(world: World, spec: LLMServiceSpec, choice: EngineChoice, index: IndexState | None) -> list[Json]:
    """Engine Service, ConfigMap, Deployment, budget and client Service; with keys, a policy that closes the engine.

    Without its index a RAG service gets no gateway yet: it would answer from the model's memory what it was made to
    answer from documents. A gateway that is there goes on as it is.
    """
    if index is not None and index.index is None:
        return []
    name = world.owner["metadata"]["name"]
    opened = still_open(world)
    config = gateway_config(
        world.owner,
        spec,
        served_name=choice.served_name,
        domain=world.settings.cluster_domain,
        max_model_len=choice.max_model_len,
        max_concurrency=choice.max_concurrency,
        index=index.index if index else None,
    )
    config_map = gateway_config_map(world.owner, config)
    named = config_map["metadata"]["name"]
    return [
        service(world.owner, engine_name(name), "engine"),
        config_map,
        gateway_deployment(world.owner, spec, world.settings.images.gateway, named, index.index if index else None),
        disruption_budget(world.owner, "gateway"),
        service(world.owner, name, "engine" if opened else "gateway"),
        *([engine_behind_gateway(world.owner)] if "keysDirectory" in config and not opened else []),
    ]


def _leftovers(world: World, objects: list[Json], *, complete: bool) -> list[Action]:
    """Children that the spec has no more use for: a gateway whose keys were taken away. Jobs go by themselves.

    A gateway's old configuration stays until no pod of an old revision is left.
    """
    wanted = {(o["kind"], o["metadata"]["name"]) for o in objects}
    ours = ["Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"]
    name = gateway_name(world.owner["metadata"]["name"])
    gateway = next((o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == name), None)
    if gateway is None or progress(world.child("Deployment", name), gateway).done:
        ours.append("ConfigMap")
    spare = [c for c in world.children if c["kind"] in ours and (c["kind"], c["metadata"]["name"]) not in wanted]
    return [_delete(c) for c in spare] if complete else []


KIND_PLAN = KindPlan(kind=KIND.kind, plural=KIND.plural, needs=needs, refers_to=refers_to, plan=plan)
