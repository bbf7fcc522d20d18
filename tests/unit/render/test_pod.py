"""Pods, GPUs, overrides and sources as pod templates."""

from typing import Any

import pytest
from hearth.api.shapes import Accelerator, EnvVar, PodOverrides, ResourceRequirements, Scheduling, Toleration
from hearth.render.gpu import node_selector_terms, with_gpus
from hearth.render.one_node import REQUIRED, beside_other_readers
from hearth.render.pod import restricted_pod
from hearth.render.podoverrides import with_overrides, with_scheduling
from hearth.render.sources import UnsupportedUriError, hub_repository, mount


def template(**container: Any) -> dict[str, Any]:
    return restricted_pod(labels={"app": "x"}, containers=[{"name": "main", "image": "i", **container}])


def test_every_container_meets_the_restricted_standard() -> None:
    pod = restricted_pod(
        labels={}, containers=[{"name": "a", "image": "i"}], init_containers=[{"name": "b", "image": "i"}]
    )["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod["containers"], *pod["initContainers"]]:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["readOnlyRootFilesystem"] is True
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize("accelerator", [None, Accelerator(), Accelerator(count=0)])
def test_without_gpus_the_template_is_unchanged(accelerator: Accelerator | None) -> None:
    assert with_gpus(template(), accelerator, "main") == template()


def test_gpus_are_a_limit_a_toleration_and_an_affinity() -> None:
    spec = with_gpus(template(), Accelerator(count=2, min_memory="80G"), "main")["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["76293"]} in terms[0]["matchExpressions"]


@pytest.mark.parametrize(("memory", "reported_mib"), [("24G", 23034), ("80G", 81559), ("40G", 40960), ("16G", 15360)])
def test_marketing_gigabytes_are_decimal(memory: str, reported_mib: int) -> None:
    (term,) = node_selector_terms(Accelerator(count=1, min_memory=memory))
    threshold = next(e for e in term["matchExpressions"] if e["key"].endswith("gpu.memory"))
    assert reported_mib > int(threshold["values"][0])


def test_a_capability_with_a_minor_part_is_two_alternatives() -> None:
    terms = node_selector_terms(Accelerator(count=1, min_compute_capability="8.9"))
    assert [
        [(e["key"].rsplit(".", 1)[1], e["operator"], e["values"][0]) for e in t["matchExpressions"][1:]] for t in terms
    ] == [
        [("major", "Gt", "8")],
        [("major", "In", "8"), ("minor", "Gt", "8")],
    ]


def test_a_resource_that_gpu_feature_discovery_does_not_describe_gets_no_affinity() -> None:
    spec = with_gpus(template(), Accelerator(count=1, resource_name="amd.com/gpu", min_memory="80G"), "main")["spec"]
    assert "affinity" not in spec
    assert spec["containers"][0]["resources"]["limits"] == {"amd.com/gpu": "1"}


def test_overrides_reach_only_what_they_may() -> None:
    overrides = PodOverrides(
        labels={"app": "mine", "team": "a", "hearth.dev/component": "x"},
        env=[EnvVar(name="A", value="2")],
        resources=ResourceRequirements(limits={"memory": "4Gi"}),
        tolerations=[Toleration(key="k", operator="Exists")],
    )
    made = with_overrides(
        template(env=[{"name": "A", "value": "1"}], resources={"limits": {"cpu": "1"}}), overrides, "main"
    )
    assert made["metadata"]["labels"] == {"app": "x", "team": "a"}
    container = made["spec"]["containers"][0]
    assert container["env"] == [{"name": "A", "value": "2"}]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "4Gi"}
    assert made["spec"]["tolerations"] == [{"key": "k", "operator": "Exists"}]


def test_the_users_node_affinity_is_combined_with_the_one_for_gpus() -> None:
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    user = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [zone]}}}
    gpus = with_gpus(template(), Accelerator(count=1, products=["NVIDIA-L4"]), "main")
    made = with_overrides(gpus, PodOverrides(affinity=user), "main")["spec"]["affinity"]["nodeAffinity"]
    (term,) = made["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {e["key"] for e in term["matchExpressions"]} == {
        "zone",
        "nvidia.com/gpu.product",
        "nvidia.com/gpu.sharing-strategy",
    }


def test_scheduling_sets_priority_selector_and_tolerations() -> None:
    scheduling = Scheduling(
        priority_class_name="batch", node_selector={"pool": "a"}, tolerations=[Toleration(key="k", operator="Exists")]
    )
    spec = with_scheduling(template(), scheduling)["spec"]
    assert spec["priorityClassName"] == "batch"
    assert spec["nodeSelector"] == {"pool": "a"}
    assert spec["tolerations"] == [{"key": "k", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("uri", "volume", "path"),
    [
        (
            "pvc://weights/court/v2",
            {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}},
            "/model/court/v2",
        ),
        ("pvc://weights", {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}, "/model"),
        ("oci://r/m@sha256:0", {"image": {"reference": "r/m@sha256:0", "pullPolicy": "IfNotPresent"}}, "/model"),
        ("configMap://rows/a.jsonl", {"configMap": {"name": "rows"}}, "/model/a.jsonl"),
    ],
)
def test_a_source_becomes_a_read_only_volume(uri: str, volume: dict[str, Any], path: str) -> None:
    made = mount(uri, "model", "/model")
    assert made.volumes == ({"name": "model", **volume},)
    assert made.mounts == ({"name": "model", "mountPath": "/model", "readOnly": True},)
    assert made.path == path


def test_a_hub_source_needs_no_volume() -> None:
    assert mount("hf://Qwen/Qwen3-8B@abc", "model", "/model").volumes == ()
    assert hub_repository("hf://Qwen/Qwen3-8B@abc") == ("Qwen/Qwen3-8B", "abc")
    assert hub_repository("hf://Qwen/Qwen3-8B") == ("Qwen/Qwen3-8B", None)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(UnsupportedUriError, match="expected configMap://"):
        mount("ftp://x", "model", "/model")


def test_a_users_pod_affinity_takes_the_place_of_ours_kind_by_kind() -> None:
    """Two required ones at once would keep the first pod from every node: it may go anywhere only where it matches all
    terms itself."""
    ours = beside_other_readers(template(), "weights")
    cache = {"labelSelector": {"matchLabels": {"app": "cache"}}, "topologyKey": "kubernetes.io/hostname"}
    required = with_overrides(ours, PodOverrides(affinity={"podAffinity": {REQUIRED: [cache]}}), "main")
    assert required["spec"]["affinity"]["podAffinity"][REQUIRED] == [cache]
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": cache}]}
    both = with_overrides(ours, PodOverrides(affinity={"podAffinity": preferred}), "main")
    assert both["spec"]["affinity"]["podAffinity"] == {**ours["spec"]["affinity"]["podAffinity"], **preferred}


def test_a_claim_with_a_long_name_still_makes_a_label() -> None:
    made = beside_other_readers(template(), "a" * 200)
    assert len(made["metadata"]["labels"]["hearth.dev/reads-claim"]) <= 63
