"""Keeps the pods that read a volume of one node on that node."""

from __future__ import annotations

from hearth.api.base import GROUP, Json
from hearth.render.names import fit

READS = f"{GROUP}/reads-claim"
"""Label of pods that mount a claim which one node at a time can mount: its name, cut where it is too long."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def beside_other_readers(template: Json, claim: str | None) -> Json:
    """The pod template, on the node of the pods that read this claim; unchanged for None.

    A ReadWriteOnce volume on one node cannot be attached to another: a pod there waits in ContainerCreating, and a
    rollout that keeps the old pod until the new one answers waits for ever. Where no pod reads the claim yet, any node
    will do: the scheduler lets the first pod of those that have affinity to themselves go anywhere
    (kube-scheduler, interpodaffinity/filtering.go, satisfyPodAffinity). Pods are found by the claim and not by their
    owner: pods that do not read it, such as those of the model before, would otherwise bind the new ones to a node
    that the volume may not be able to reach.
    """
    if claim is None:
        return template
    label = {READS: fit(claim)}
    term: Json = {"labelSelector": {"matchLabels": label}, "topologyKey": "kubernetes.io/hostname"}
    metadata, spec = template["metadata"], template["spec"]
    return {
        "metadata": {**metadata, "labels": {**metadata["labels"], **label}},
        "spec": {**spec, "affinity": {**spec.get("affinity", {}), "podAffinity": {REQUIRED: [term]}}},
    }
