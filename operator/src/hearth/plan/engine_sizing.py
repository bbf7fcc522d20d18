"""Chooses what an engine runs on, CPU or how many GPUs, and plans its memory there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hearth.api.base import Json, quantity
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.model_facts import ModelFacts
from hearth.api.shapes import Accelerator, Toleration
from hearth.plan.gpus import GpuNode, fits, gpu_nodes
from hearth.plan.memory import Device, DoesNotFit, MemoryPlan, Wish, legal_parallel, plan_memory, visible_gpu_memory
from hearth.plan.open_nodes import Placement, placement
from hearth.render.gpu import MIB, memory_mib, resource_name


@dataclass(frozen=True, slots=True)
class Sizing:
    """What one engine pod runs on, and its memory there."""

    device: Literal["CPU", "GPU"]
    accelerator: Accelerator | None
    memory: MemoryPlan | DoesNotFit


def size_engine(spec: LLMServiceSpec, facts: ModelFacts, nodes: Sequence[Json], before: Json | None) -> Sizing:
    """The sizing. `before` is status.resolved: a device that was chosen once is kept while it fits.

    Without it, a GPU node that joins would move every service that runs on CPU at once.
    """
    asked = spec.accelerator or Accelerator()
    if asked.count == 0:
        return _on_cpu(spec, facts, nodes)
    kept = _kept(spec, facts, nodes, asked, before or {})
    if kept is not None:
        return kept
    if spec.accelerator is None and not _open_gpus(spec, nodes, asked):
        return _on_cpu(spec, facts, nodes)
    candidates = _candidates(spec, nodes, asked)
    if asked.count is not None:
        return _on_gpus(spec, facts, candidates, asked)
    return _fewest_gpus(spec, facts, candidates, asked)


def size_unmoved(spec: LLMServiceSpec, facts: ModelFacts, before: Json | None) -> Sizing | None:
    """The sizing on CPU whatever nodes there are now; None where the service was not on CPU, or shall not be there.

    Where its pods run already, a node that is cordoned or lost is no reason to say that they do not fit.
    """
    if (before or {}).get("device") != "CPU" or (spec.accelerator is not None and spec.accelerator.count != 0):
        return None
    return _on_cpu(spec, facts, ())


def _kept(
    spec: LLMServiceSpec, facts: ModelFacts, nodes: Sequence[Json], asked: Accelerator, before: Json
) -> Sizing | None:
    """The device of `before`, if the spec still allows it and the model still fits."""
    if before.get("device") == "CPU" and spec.accelerator is None:
        sizing = _on_cpu(spec, facts, nodes)
        return sizing if isinstance(sizing.memory, MemoryPlan) else None
    if before.get("device") != "GPU" or "accelerator" not in before:
        return None
    chosen = Accelerator.model_validate(before["accelerator"])
    filled = asked.model_copy(update={"count": asked.count or chosen.count, "min_memory": _larger(asked, chosen)})
    if filled != chosen:
        return None
    memory = plan_memory(facts, _wish(spec), _device(chosen))
    return Sizing("GPU", chosen, memory) if isinstance(memory, MemoryPlan) else None


def _larger(one: Accelerator, other: Accelerator) -> str | None:
    given = [a.min_memory for a in (one, other) if a.min_memory is not None]
    return max(given, key=quantity) if given else None


def _placement(spec: LLMServiceSpec, accelerator: Accelerator) -> Placement:
    """Where an engine pod may run; one with GPUs tolerates the taint of their nodes."""
    gpu = Toleration(key=resource_name(accelerator), operator="Exists", effect="NoSchedule")
    return placement(spec.scheduling, spec.pod_overrides, [] if accelerator.count == 0 else [gpu])


def _open_gpus(spec: LLMServiceSpec, nodes: Sequence[Json], asked: Accelerator) -> list[GpuNode]:
    """The GPUs that the accelerator allows, of nodes that take an engine pod today."""
    usable = _placement(spec, asked).open(nodes)
    return [n for n in gpu_nodes(usable, resource_name(asked)) if fits(asked, n)]


def _candidates(spec: LLMServiceSpec, nodes: Sequence[Json], asked: Accelerator) -> list[GpuNode]:
    """The same; where there are none, the GPUs of nodes that are away for now: they will be back."""
    usable = _placement(spec, asked).allowed(nodes)
    away = [replace(n, schedulable=True) for n in gpu_nodes(usable, resource_name(asked))]
    return _open_gpus(spec, nodes, asked) or [n for n in away if fits(asked, n)]


def _fewest_gpus(spec: LLMServiceSpec, facts: ModelFacts, candidates: Sequence[GpuNode], asked: Accelerator) -> Sizing:
    """The least number of GPUs on one node that holds the model."""
    largest = max((n.count for n in candidates), default=1)
    tried: Sizing | None = None
    for count in (n for n in (1, 2, 4, 8, 16) if n <= max(1, largest) and legal_parallel(facts, n)):
        tried = _on_gpus(spec, facts, candidates, asked.model_copy(update={"count": count}))
        if isinstance(tried.memory, MemoryPlan):
            return tried
    return tried or _on_gpus(spec, facts, candidates, asked.model_copy(update={"count": 1}))


def _on_gpus(spec: LLMServiceSpec, facts: ModelFacts, candidates: Sequence[GpuNode], asked: Accelerator) -> Sizing:
    """On the smallest of the GPUs that the accelerator allows; if that one is too small, on the next that holds it.

    The chosen size becomes `minMemory`, so that the scheduler cannot pick a smaller card than was planned with.
    """
    refused: MemoryPlan | DoesNotFit | None = None
    for chosen in _choices(asked, candidates):
        planned = plan_memory(facts, _wish(spec), _device(chosen))
        if isinstance(planned, MemoryPlan):
            return Sizing("GPU", chosen, planned)
        refused = planned
    assert refused is not None
    return Sizing("GPU", asked, refused)


def _choices(asked: Accelerator, candidates: Sequence[GpuNode]) -> list[Accelerator]:
    """The accelerator with the memory of each GPU that it allows, in order; as it is where no node says any."""
    allowed = [n for n in candidates if fits(asked, n)]
    known = sorted({int(n.memory_mib * MIB // 1e9) for n in allowed if n.memory_mib is not None})
    return [asked.model_copy(update={"min_memory": f"{gigabytes}G"}) for gigabytes in known] or [asked]


def _device(accelerator: Accelerator) -> Device:
    mib = memory_mib(accelerator)
    return Device("GPU", accelerator.count or 1, None if mib is None else visible_gpu_memory(mib))


def _on_cpu(spec: LLMServiceSpec, facts: ModelFacts, nodes: Sequence[Json]) -> Sizing:
    memory = plan_memory(facts, _wish(spec), Device("CPU", 1, _main_memory(spec, nodes)))
    return Sizing("CPU", Accelerator(count=0), memory)


def _wish(spec: LLMServiceSpec) -> Wish:
    engine = spec.engine
    return Wish(
        max_model_len=engine.max_model_len if engine else None,
        max_concurrency=engine.max_concurrency if engine else None,
        dtype=engine.dtype if engine else None,
        embed=spec.task == "Embed",
    )


def _main_memory(spec: LLMServiceSpec, nodes: Sequence[Json]) -> int | None:
    """The pod's memory limit, else the memory of the largest node that it may run on; None where neither is known."""
    for resources in (spec.pod_overrides.resources if spec.pod_overrides else None, spec.resources):
        limit = (resources.limits or {}).get("memory") if resources else None
        if limit is not None:
            return int(quantity(limit))
    where = _placement(spec, Accelerator(count=0))
    usable = where.open(nodes) or where.allowed(nodes)
    sizes = [quantity(str(n.get("status", {}).get("allocatable", {}).get("memory", "0"))) for n in usable]
    return int(max(sizes)) if sizes else None
