"""How a service's pods are: scheduled, available, rolled out; and what is wrong where they are not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.plan.conditions import Condition
from hearth.plan.gpus import why_unschedulable
from hearth.plan.index_reference import IndexState
from hearth.plan.memory import MemoryPlan
from hearth.plan.pod_trouble import Trouble, trouble
from hearth.plan.rollout import Progress, is_behind, is_over, newest_pods, progress
from hearth.plan.served_claim import mounted_claim
from hearth.plan.transition import condition
from hearth.plan.volume_wait import waiting_for_volume
from hearth.plan.world import World
from hearth.render.gateway import gateway_name, has_gateway
from hearth.render.labels import COMPONENT
from hearth.render.vllm import EngineChoice, engine_name

ROLLED_OUT = "RolledOut"


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """The three conditions about pods, and the summary that Ready takes from them."""

    scheduled: Condition
    available_condition: Condition
    rolled_out: Condition
    reason: str
    message: str
    stalled: bool = False
    reconciling: bool = True
    waiting_on: str | None = None
    replicas: int = 0
    ready_replicas: int = 0

    @property
    def available(self) -> bool:
        """Whether anything serves."""
        return self.available_condition.status == "True"

    def conditions(self) -> tuple[Condition, ...]:
        """Scheduled, Available and RolledOut."""
        return (self.scheduled, self.available_condition, self.rolled_out)


STILL_OPEN = "keys are not asked for until the gateway answers"


def still_open(world: World) -> bool:
    """Whether clients reach the engine itself, in a service that has just been given its first keys.

    Its Service is moved once the gateway answers: the clients that it has, and that get a key, lose no request.
    """
    name = world.owner["metadata"]["name"]
    client, gateway = world.child("Service", name), world.child("Deployment", gateway_name(name))
    points_at = (client or {}).get("spec", {}).get("selector", {}).get(COMPONENT)
    return points_at == "engine" and not (gateway or {}).get("status", {}).get("availableReplicas")


def judge(
    world: World,
    spec: LLMServiceSpec,
    engine: Json | None,
    gateway: Json | None,
    *,
    now: datetime,
    memory: MemoryPlan | None = None,
    choice: EngineChoice | None = None,
    index: IndexState | None = None,
) -> EngineHealth:
    """The health of what is there. `engine` and `gateway` are what is wanted; None where that is not known."""
    name = world.owner["metadata"]["name"]
    live_engine = world.child("Deployment", engine_name(name))
    live_gateway = world.child("Deployment", gateway_name(name))
    found = _explained(world, _part_trouble(world, "engine", live_engine, engine), memory, choice)
    if found is None and has_gateway(spec):
        found = _part_trouble(world, "gateway", live_gateway, gateway)
    found = found or _late(world, live_engine, engine, choice, now)
    running = (live_engine or {}).get("status", {})
    opened = has_gateway(spec) and still_open(world)
    health = EngineHealth(
        scheduled=_scheduled(world, found),
        available_condition=_available(spec, live_engine, live_gateway, index, opened=opened),
        rolled_out=Condition(ROLLED_OUT, "False", "Waiting", "the model to serve is not settled"),
        reason="Progressing",
        message="",
        replicas=running.get("replicas", 0),
        ready_replicas=running.get("availableReplicas", 0),
    )
    if engine is None:
        return health
    parts = [progress(live_engine, engine)]
    if has_gateway(spec) and gateway is not None:
        parts.append(progress(live_gateway, gateway))
    summary = _summary(spec, health, parts, found, index)
    return replace(summary, message=f"{summary.message}; {STILL_OPEN}") if opened else summary


def _part_trouble(world: World, component: str, live: Json | None, desired: Json | None) -> Trouble | None:
    """What is wrong with the engine or the gateway that the spec asks for now."""
    pods = newest_pods(world, live, world.pods_labelled(COMPONENT, component))
    return _unless_old(world, trouble(pods) or _not_created(live), live, desired)


def _unless_old(world: World, found: Trouble | None, live: Json | None, desired: Json | None) -> Trouble | None:
    """The trouble, unless it may be that of an earlier template, which a change of the spec is about to end.

    What is on record for this very spec stays: where only the number of pods has changed, it must not come and go.
    """
    if found is None or not is_behind(live, desired):
        return found
    told, generation = condition(world.owner.get("status", {}), ROLLED_OUT), world.owner["metadata"].get("generation")
    stands = (told.get("reason"), told.get("observedGeneration")) == (found.reason, generation)
    return found if stands else None


def _explained(
    world: World, found: Trouble | None, memory: MemoryPlan | None, choice: EngineChoice | None
) -> Trouble | None:
    """The engine's trouble, with what was planned beside what a pod or the scheduler says."""
    if found is None:
        return None
    if found.reason == "OOMKilled" and memory is not None:
        parts = ", ".join(f"{name} {size / 2**30:.1f} GiB" for name, size in memory.items)
        advice = "raise resources.limits.memory, or lower engine.maxConcurrency"
        return replace(found, message=f"{found.message}; planned were {parts}: {advice}")
    if found.reason == "Unschedulable" and choice is not None and choice.accelerator is not None:
        why = why_unschedulable(choice.accelerator, world.nodes)
        return replace(found, message=f"{why} (scheduler: {found.message})") if why else found
    return found


def _late(
    world: World, live: Json | None, desired: Json | None, choice: EngineChoice | None, now: datetime
) -> Trouble | None:
    """Engine pods that take too long, where nothing else is known to be wrong with them."""
    claim = mounted_claim(world, choice.uri) if choice is not None else None
    engines = world.pods_labelled(COMPONENT, "engine")
    found = waiting_for_volume(newest_pods(world, live, engines), engines, claim, now)
    if found is None and desired is not None and (rollout := progress(live, desired)).deadline_exceeded:
        message = f"the new revision did not answer in time: {rollout.describe()}"
        found = Trouble("ProgressDeadlineExceeded", message, lasting=True)
    return _unless_old(world, found, live, desired)


def _not_created(deployment: Json | None) -> Trouble | None:
    """A quota, or an admission policy, that keeps pods from being made at all."""
    for told in (deployment or {}).get("status", {}).get("conditions", []):
        if told["type"] == "ReplicaFailure" and told["status"] == "True":
            message = f"pods cannot be made: {told.get('message', told.get('reason', ''))}"
            return Trouble("PodsNotCreated", message, lasting=True)
    return None


def _scheduled(world: World, found: Trouble | None) -> Condition:
    if found is not None and found.reason in ("Unschedulable", "VolumeMissing"):
        return Condition("Scheduled", "False", found.reason, found.message)
    pods = [p for p in world.pods_labelled(COMPONENT, "engine") if "deletionTimestamp" not in p["metadata"]]
    pods = [p for p in pods if not is_over(p)]
    if not pods:
        return Condition("Scheduled", "Unknown", "NoPods", "there are no engine pods")
    placed = sum(1 for p in pods if p.get("spec", {}).get("nodeName"))
    if placed < len(pods):
        return Condition("Scheduled", "Unknown", "Waiting", f"{placed} of {len(pods)} engine pods have a node")
    return Condition("Scheduled", "True", "Placed", "every engine pod has a node")


def _available(
    spec: LLMServiceSpec, engine: Json | None, gateway: Json | None, index: IndexState | None, *, opened: bool
) -> Condition:
    if index is not None and index.index is None and gateway is None:
        return Condition("Available", "False", index.reason, index.message)
    parts = {"engine": engine} | ({"gateway": gateway} if has_gateway(spec) and not opened else {})
    missing = [n for n, d in parts.items() if not (d or {}).get("status", {}).get("availableReplicas")]
    if missing:
        return Condition("Available", "False", "NoneAnswering", f"no {' and no '.join(missing)} pod answers")
    running = (engine or {}).get("status", {})
    answering, total = running.get("availableReplicas", 0), running.get("replicas", 0)
    message = f"{answering} of {total} engine pods answered a real request"
    return Condition("Available", "True", "Answering", f"{message}; {STILL_OPEN}" if opened else message)


def _summary(
    spec: LLMServiceSpec,
    health: EngineHealth,
    parts: list[Progress],
    found: Trouble | None,
    index: IndexState | None,
) -> EngineHealth:
    engine = parts[0]
    if index is not None and index.index is None:
        return _held(health, engine, index.reason, index.message, stalled=index.stalled, waiting_on="VectorIndex")
    if all(p.done for p in parts):
        rolled = Condition(ROLLED_OUT, "True", "Complete", "every pod is of the newest revision")
        done = replace(health, rolled_out=rolled, reconciling=False)
        if spec.replicas == 0:
            return replace(done, reason="ScaledToZero", message="replicas is 0: nothing runs, nothing is wrong")
        return replace(done, reason="Serving", message=health.available_condition.message)
    if found is not None:
        waiting_on = "a node with room" if found.reason == "Unschedulable" else None
        return _held(health, engine, found.reason, found.message, stalled=found.lasting, waiting_on=waiting_on)
    slow = next(p for p in parts if not p.done)
    what = "engine" if slow is engine else "gateway"
    return _held(health, engine, "RollingOut", f"{what}: {slow.describe()}")


def _held(
    health: EngineHealth,
    engine: Progress,
    reason: str,
    message: str,
    *,
    stalled: bool = False,
    waiting_on: str | None = None,
) -> EngineHealth:
    if health.available and reason != "RollingOut":
        message = f"{message}; the previous revision is still served" if engine.total else message
    rolled = Condition(ROLLED_OUT, "False", reason, message)
    return replace(
        health,
        rolled_out=rolled,
        reason=reason,
        message=message,
        stalled=stalled,
        reconciling=not stalled,
        waiting_on=waiting_on,
    )
