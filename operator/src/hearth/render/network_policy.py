"""Who may reach an engine: a service with API keys is worth little if its engine can be asked without one."""

from __future__ import annotations

from hearth.api.base import Json
from hearth.render.labels import owner_labels, selector
from hearth.render.vllm import PORT, engine_name


def engine_behind_gateway(owner: Json) -> Json:
    """Only the service's own gateway reaches its engine pods.

    The kubelet's probes are let in by every network plugin (Kubernetes documentation, Network Policies). It takes a
    plugin that enforces policies; SECURITY.md says so.
    """
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": engine_name(owner["metadata"]["name"]), "labels": owner_labels(owner)},
        "spec": {
            "podSelector": {"matchLabels": selector(owner, "engine")},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": selector(owner, "gateway")}}],
                    "ports": [{"port": PORT, "protocol": "TCP"}],
                }
            ],
        },
    }
