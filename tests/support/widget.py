"""A kind for tests of the machinery: a Widget owns a ConfigMap with its text and a Deployment that shows it."""

from datetime import datetime, timedelta

from hearth.api.base import API_VERSION, Json
from hearth.kube.resources import Resource, hearth_resource
from hearth.plan import conditions
from hearth.plan.settings import Images, Settings
from hearth.plan.world import Apply, Delete, Event, KindPlan, ObjectKey, Plan, World

WIDGET: Resource = hearth_resource("Widget", "widgets")
IMAGE = "registry.example/widget:1"
SETTINGS = Settings(
    images=Images(
        trainer=IMAGE, indexer=IMAGE, gateway=IMAGE, vllm=IMAGE, vllm_cpu=IMAGE, milvus=IMAGE, milvus_lite=IMAGE
    ),
    namespace="default",
)


def widget(name: str, namespace: str = "default", **spec: object) -> Json:
    """A Widget as a user writes it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Widget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"text": "hello", **spec},
    }


def widget_key(name: str, namespace: str = "default") -> ObjectKey:
    return ObjectKey("Widget", namespace, name)


def plan(world: World, now: datetime) -> Plan:
    owner, spec = world.owner, world.owner["spec"]
    name, generation = owner["metadata"]["name"], owner["metadata"]["generation"]
    if spec["text"] == "explode":
        raise ValueError("the text explodes")
    missing = [key for key, obj in world.related.items() if obj is None]
    if missing:
        told = conditions.reconciling("Waiting", f"{missing[0].kind} {missing[0].name} does not exist")
        event = Event("Warning", "Waiting", f"{missing[0].kind} {missing[0].name} does not exist")
        return Plan(_status(world, told, now, generation), (), (event,), timedelta(seconds=30))
    deployment = world.child("Deployment", f"{name}-run")
    have = ((deployment or {}).get("status") or {}).get("availableReplicas", 0)
    want = spec.get("replicas", 1)
    told = (
        conditions.ready("Shown", "the text is shown")
        if have >= want and deployment is not None
        else conditions.reconciling("Starting", "waiting for the Deployment")
    )
    actions = [Apply(config_map(name, spec["text"])), Apply(run(name, want))]
    if spec.get("keepsake"):
        actions.append(Apply(config_map(name, spec["keepsake"], suffix="keepsake"), owned=False))
    extra = world.child("ConfigMap", f"{name}-extra")
    if spec.get("extra"):
        actions.append(Apply(config_map(name, spec["extra"], suffix="extra")))
    elif extra is not None:
        actions.append(
            Delete(ObjectKey("ConfigMap", owner["metadata"]["namespace"], f"{name}-extra"), extra["metadata"]["uid"])
        )
    return Plan(_status(world, told, now, generation), tuple(actions))


def _status(world: World, told: tuple[conditions.Condition, ...], now: datetime, generation: int) -> Json:
    old = (world.owner.get("status") or {}).get("conditions") or []
    status: Json = {
        "observedGeneration": generation,
        "conditions": conditions.merge(old, told, generation, now),
    }
    if world.dependents:
        status["usedBy"] = [d["metadata"]["name"] for d in world.dependents]
    return status


def config_map(name: str, text: str, suffix: str = "text") -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{name}-{suffix}"},
        "data": dict.fromkeys(text.split(), "yes"),
    }


def run(name: str, replicas: int) -> Json:
    labels = {"app.kubernetes.io/managed-by": "hearth", "hearth.dev/kind": "Widget", "hearth.dev/name": name}
    container = {
        "name": "main",
        "image": IMAGE,
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
        "env": [{"name": "A", "value": "1"}],
        "ports": [{"name": "http", "containerPort": 8000}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"{name}-run"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def needs(owner: Json) -> frozenset[ObjectKey]:
    namespace, found = owner["metadata"]["namespace"], set()
    for kind, name in (("ConfigMap", "configFrom"), ("Secret", "secretFrom")):
        if owner["spec"].get(name):
            found.add(ObjectKey(kind, namespace, owner["spec"][name]))
    return frozenset(found | refers_to(owner))


def refers_to(owner: Json) -> frozenset[ObjectKey]:
    partner = owner["spec"].get("partner")
    return frozenset({widget_key(partner, owner["metadata"]["namespace"])} if partner else ())


KIND_PLAN = KindPlan("Widget", "widgets", needs, refers_to, plan)

CRD: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.hearth.dev"},
    "spec": {
        "group": "hearth.dev",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                            "status": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                                "default": {"observedGeneration": -1},
                                "properties": {
                                    "observedGeneration": {"type": "integer"},
                                    "conditions": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["type"],
                                        "items": {
                                            "type": "object",
                                            "required": ["type"],
                                            "properties": {"type": {"type": "string"}},
                                            "x-kubernetes-preserve-unknown-fields": True,
                                        },
                                    },
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}
