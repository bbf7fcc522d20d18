"""Applies `scheduling` and the allow-listed `podOverrides` to a pod template."""

from __future__ import annotations

from hearth.api.base import GROUP, Json
from hearth.api.shapes import PodOverrides, ResourceRequirements, Scheduling, Toleration
from hearth.render.gpu import require_node
from hearth.render.one_node import REQUIRED


def with_scheduling(template: Json, scheduling: Scheduling | None) -> Json:
    """The template with priority class, node selector and tolerations. The queue is the workload's own label."""
    if scheduling is None:
        return template
    spec = dict(template["spec"])
    if scheduling.priority_class_name:
        spec["priorityClassName"] = scheduling.priority_class_name
    if scheduling.node_selector:
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), **scheduling.node_selector}
    return _with_tolerations({**template, "spec": spec}, scheduling.tolerations)


def with_overrides(template: Json, overrides: PodOverrides | None, container: str) -> Json:
    """The template with the user's overrides; `env` and `resources` go to the named container.

    Labels and annotations under hearth.dev/ are never taken: children are found by them.
    """
    if overrides is None:
        return template
    metadata = dict(template["metadata"])
    for field, extra in (("labels", overrides.labels), ("annotations", overrides.annotations)):
        if extra:
            allowed = {k: v for k, v in extra.items() if not k.startswith(f"{GROUP}/")}
            metadata[field] = {**allowed, **metadata.get(field, {})}
    spec = dict(template["spec"])
    if overrides.node_selector:
        spec["nodeSelector"] = {**spec.get("nodeSelector", {}), **overrides.node_selector}
    if overrides.runtime_class_name:
        spec["runtimeClassName"] = overrides.runtime_class_name
    if overrides.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": s.name} for s in overrides.image_pull_secrets]
    if overrides.affinity:
        spec["affinity"] = _merged_affinity(overrides.affinity, spec.get("affinity", {}))
    spec["containers"] = [_with_own(c, overrides) if c["name"] == container else c for c in spec["containers"]]
    return _with_tolerations({"metadata": metadata, "spec": spec}, overrides.tolerations)


def let_in(template: Json, scheduling: Scheduling | None, overrides: PodOverrides | None) -> Json:
    """The template of a pod beside the main one, with what lets it into the cluster.

    Pull secrets, tolerations, priority, and the labels and annotations that policies may ask for. Not where the main
    pod has to run (selectors, affinity, runtime class): a pod without GPUs should not need a node with GPUs.
    """
    if scheduling is not None:
        template = with_scheduling(template, scheduling.model_copy(update={"node_selector": None}))
    if overrides is not None:
        mains = ("node_selector", "affinity", "runtime_class_name", "env", "resources")
        overrides = overrides.model_copy(update=dict.fromkeys(mains))
    return with_overrides(template, overrides, "")


def with_resources(container: Json, resources: ResourceRequirements | None) -> Json:
    """The container with the user's requests and limits laid over its own, key by key."""
    if resources is None:
        return container
    merged = {k: dict(v) for k, v in container.get("resources", {}).items()}
    for field, wanted in (("requests", resources.requests), ("limits", resources.limits)):
        if wanted:
            merged[field] = {**merged.get(field, {}), **wanted}
    return {**container, "resources": merged}


def with_env(container: Json, overrides: PodOverrides | None) -> Json:
    """The container with the user's variables, which win over its own."""
    if overrides is None or not overrides.env:
        return container
    wanted = {e.name: e.value for e in overrides.env}
    kept = [e for e in container.get("env", []) if e["name"] not in wanted]
    return {**container, "env": [*kept, *({"name": k, "value": v} for k, v in wanted.items())]}


def _with_own(container: Json, overrides: PodOverrides) -> Json:
    return with_env(with_resources(container, overrides.resources), overrides)


def _with_tolerations(template: Json, extra: list[Toleration] | None) -> Json:
    if not extra:
        return template
    spec = template["spec"]
    wanted = [t.model_dump(by_alias=True, exclude_none=True) for t in extra]
    return {**template, "spec": {**spec, "tolerations": [*spec.get("tolerations", []), *wanted]}}


def _merged_affinity(user: Json, ours: Json) -> Json:
    """The user's affinity over ours; node requirements of both must hold.

    The user's required pod affinity takes the place of ours. Both at once would keep the first pod from every node: it
    may go anywhere only where it matches all terms itself.
    """
    terms = ours.get("nodeAffinity", {}).get(REQUIRED, {}).get("nodeSelectorTerms", [])
    merged = {**ours, **user}
    if "podAffinity" in ours and "podAffinity" in user:
        merged["podAffinity"] = {**ours["podAffinity"], **user["podAffinity"]}
    return require_node(merged, terms) if terms and "nodeAffinity" in user else merged
