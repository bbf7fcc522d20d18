"""The engine's volume and its troubles."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hearth.plan.world import Apply, Delete


def grow_to(scene: Any, size: str) -> None:
    """The user asks for a larger volume."""
    scene.spec["milvus"]["storage"]["size"] = size


def claims(plan: Any) -> list[str]:
    """Sizes that the plan asks of the claim."""
    asked = [a for a in plan.actions if isinstance(a, Apply) and a.obj["kind"] == "PersistentVolumeClaim"]
    assert not any(a.owned for a in asked)
    return [a.obj["spec"]["resources"]["requests"]["storage"] for a in asked]


def orphaned(plan: Any) -> bool:
    """Whether the StatefulSet is taken away from its pod."""
    return any(
        isinstance(a, Delete) and a.key.kind == "StatefulSet" and a.propagation == "Orphan" for a in plan.actions
    )


def template_size(scene: Any) -> str:
    """The size in the StatefulSet's template."""
    (template,) = scene.children["StatefulSet", "handbook-milvus"]["spec"]["volumeClaimTemplates"]
    return str(template["spec"]["resources"]["requests"]["storage"])


def test_a_volume_grows_first_and_the_template_follows_while_the_pod_runs_on(scene: Any, made: Any) -> None:
    scene.serves()
    grow_to(scene, "4Gi")
    plan = scene.act()
    assert claims(plan) == ["4Gi"]
    assert not orphaned(plan)
    assert template_size(scene) == "2Gi"
    assert "grows from 2Gi to 4Gi" in scene.message("EngineReady")

    scene.around["PersistentVolumeClaim"] = made.claim("4Gi", "4Gi")
    assert orphaned(scene.act())
    scene.act()
    assert template_size(scene) == "4Gi"
    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.status["storage"] == {"claim": "data-handbook-milvus-0", "size": "4Gi", "capacity": "4Gi"}
    assert not orphaned(scene.act())


def test_the_disk_quota_follows_the_volume_without_a_restart(scene: Any, made: Any) -> None:
    def quota() -> str:
        text = scene.children["ConfigMap", "handbook-milvus"]["data"]["milvus.yaml"]
        return str(text.split("diskQuota: ")[1].split()[0])

    scene.serves()
    template = scene.children["StatefulSet", "handbook-milvus"]["spec"]["template"]
    assert quota() == "1638"
    grow_to(scene, "4Gi")
    scene.act()
    assert quota() == "1638"
    scene.around["PersistentVolumeClaim"] = made.claim("4Gi", "4Gi")
    scene.act()
    scene.act()
    assert quota() == "3276"
    assert scene.children["StatefulSet", "handbook-milvus"]["spec"]["template"] == template


def test_a_volume_never_shrinks_and_the_index_serves_on(scene: Any) -> None:
    scene.serves()
    grow_to(scene, "1Gi")
    plan = scene.act()

    assert claims(plan) == []
    assert not orphaned(plan)
    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.condition("Stalled") == ("True", "VolumeCannotShrink")
    assert scene.message("Stalled") == ("the volume has 2Gi and cannot shrink to 1Gi: set storage.size to 2Gi or more")


def test_a_class_that_cannot_grow_is_named(scene: Any, made: Any) -> None:
    scene.storage_classes = [made.storage_class(expansion=False)]
    scene.serves()
    grow_to(scene, "4Gi")
    plan = scene.act()

    assert claims(plan) == []
    assert scene.condition("Stalled") == ("True", "VolumeCannotGrow")
    assert "StorageClass fast does not allow it" in scene.message("Stalled")


def test_a_missing_storage_class_is_waited_for(scene: Any, made: Any) -> None:
    scene.storage_classes = []
    scene.act()
    assert scene.children == {}
    assert scene.condition("EngineReady") == ("False", "StorageClassNotFound")
    assert "StorageClass fast does not exist" in scene.message()
    assert scene.status["pending"]["waitingOn"] == ["StorageClass fast"]

    scene.storage_classes = [made.storage_class()]
    scene.act()
    assert ("StatefulSet", "handbook-milvus") in scene.children
    assert scene.status["pending"]["waitingOn"] == ["pod handbook-milvus-0"]


@pytest.mark.parametrize("driver", ["nfs.csi.k8s.io", "efs.csi.aws.com", "rook-ceph.cephfs.csi.ceph.com"])
def test_a_network_file_system_is_refused_for_standalone_with_the_reason(scene: Any, made: Any, driver: str) -> None:
    scene.storage_classes = [made.storage_class(driver)]
    scene.act()
    assert scene.condition("Stalled") == ("True", "FileStorage")
    assert driver in scene.message()
    assert scene.children == {}

    scene.spec["milvus"]["storage"]["allowFile"] = True
    scene.act()
    assert ("StatefulSet", "handbook-milvus") in scene.children


def test_the_default_class_is_looked_at_where_none_is_named(scene: Any, made: Any) -> None:
    del scene.spec["milvus"]["storage"]["storageClassName"]
    shared = made.storage_class("nfs.csi.k8s.io", name="shared", default_since="2026-02-01T00:00:00Z")
    older = made.storage_class(name="block", default_since="2026-01-01T00:00:00Z")
    scene.storage_classes = [older, made.storage_class(), shared]
    scene.act()
    assert scene.condition("Stalled") == ("True", "FileStorage")
    assert scene.message().startswith("StorageClass shared (nfs.csi.k8s.io) gives a network file system")

    scene.storage_classes = [older]
    scene.act()
    assert ("StatefulSet", "handbook-milvus") in scene.children
    assert scene.condition("Stalled")[0] == "False"


def test_a_volume_that_is_there_needs_no_class_any_more_and_keeps_its_own(scene: Any, made: Any) -> None:
    del scene.spec["milvus"]["storage"]["storageClassName"]
    scene.around["PersistentVolumeClaim"] = made.claim()
    scene.storage_classes = [made.storage_class("nfs.csi.k8s.io", name="shared", default_since="2026-02-01T00:00:00Z")]
    scene.act()
    assert ("StatefulSet", "handbook-milvus") in scene.children


def test_without_a_default_class_a_claim_may_find_a_volume_without_one(scene: Any) -> None:
    del scene.spec["milvus"]["storage"]["storageClassName"]
    scene.storage_classes = []
    scene.act()
    assert ("StatefulSet", "handbook-milvus") in scene.children


def test_lite_takes_any_volume_and_needs_no_configuration(scene: Any, made: Any) -> None:
    scene.spec["milvus"]["topology"] = "Lite"
    scene.storage_classes = [made.storage_class("nfs.csi.k8s.io")]
    scene.act()

    container = scene.children["StatefulSet", "handbook-milvus"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "milvus-lite"
    assert container["command"][:2] == ["milvus-lite", "server"]
    assert ("ConfigMap", "handbook-milvus") not in scene.children


def test_an_external_milvus_gets_nothing_but_the_indexer(scene: Any) -> None:
    scene.spec["milvus"] = {"topology": "External", "external": {"uri": "https://milvus.example.com:19530"}}
    scene.act()

    assert {kind for kind, _ in scene.children} == {"Job", "ConfigMap"}
    assert scene.condition("EngineReady") == ("True", "External")
    assert scene.status["endpoint"] == "https://milvus.example.com:19530"
    config = next(c for (kind, _), c in scene.children.items() if kind == "ConfigMap")["data"]["config.json"]
    assert '"alias": "team_handbook_' in config


def test_a_pod_that_finds_no_node_is_told_in_the_schedulers_words(scene: Any) -> None:
    scene.act()
    words = "0/3 nodes are available: 3 Insufficient memory."
    unplaced = [{"type": "PodScheduled", "status": "False", "message": words}]
    labels = {"hearth.dev/component": "milvus"}
    scene.pods = [{"metadata": {"name": "p", "labels": labels}, "status": {"conditions": unplaced}}]
    scene.act()

    assert scene.condition("EngineReady") == ("False", "Unschedulable")
    assert words in scene.message()


def test_an_engine_that_gets_no_pod_is_told_after_a_minute_with_where_to_look(scene: Any) -> None:
    scene.act()
    scene.now += timedelta(seconds=50)
    assert scene.act().look_again == timedelta(seconds=10)
    assert scene.condition("EngineReady") == ("False", "Starting")
    scene.now += timedelta(seconds=10)
    told = scene.act().events
    assert scene.condition("Stalled") == ("True", "PodsNotCreated")
    assert "Milvus does not run: StatefulSet handbook-milvus gets no pod" in scene.message()
    assert "`kubectl -n team describe statefulset handbook-milvus` says which" in scene.message()
    assert [(event.type, event.reason) for event in told] == [("Warning", "PodsNotCreated")]

    before = scene.status
    for _ in range(3):
        scene.now += timedelta(minutes=10)
        assert scene.act().events == ()
    assert scene.status == before
    scene.engine_answers()
    scene.act()
    assert scene.condition("EngineReady") == ("True", "Answers")


@pytest.mark.parametrize("what", ["its pod goes", "it was suspended"])
def test_an_old_stateful_set_that_makes_a_pod_anew_has_a_minute_for_it(scene: Any, what: str) -> None:
    scene.serves()
    scene.now += timedelta(hours=5)
    scene.pods = [] if what == "its pod goes" else scene.pods
    if what == "it was suspended":
        for suspend in (True, False):
            scene.spec["suspend"] = suspend
            scene.generation += 1
            scene.pods = []
            scene.act()
    assert scene.act().look_again == timedelta(seconds=60)
    assert scene.condition("EngineReady") == ("False", "Starting")


def test_a_stateful_set_that_its_controller_has_not_come_to_has_time(scene: Any) -> None:
    scene.act()
    scene.children["StatefulSet", "handbook-milvus"]["metadata"]["generation"] = 1
    scene.now += timedelta(minutes=3)
    scene.act()
    assert scene.condition("EngineReady") == ("False", "Starting")


def test_a_spec_that_is_corrected_is_not_blamed_for_the_pod_that_was_not_made(scene: Any) -> None:
    scene.act()
    scene.now += timedelta(seconds=60)
    scene.act()
    assert scene.condition("EngineReady") == ("False", "PodsNotCreated")
    scene.spec["milvus"]["resources"] = {"requests": {"memory": "1Gi"}}
    scene.generation += 1
    scene.act()
    assert scene.condition("EngineReady") == ("False", "Starting")


def test_retain_names_the_volume_that_stays(scene: Any) -> None:
    scene.serves()
    policy = scene.children["StatefulSet", "handbook-milvus"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert "PersistentVolumeClaim data-handbook-milvus-0, which stays when the index is deleted" in scene.message(
        "EngineReady"
    )

    scene.spec["deletionPolicy"] = "Delete"
    scene.act()
    policy = scene.children["StatefulSet", "handbook-milvus"]["spec"]["persistentVolumeClaimRetentionPolicy"]
    assert policy["whenDeleted"] == "Delete"
    assert "which goes when the index is deleted" in scene.message("EngineReady")


def test_an_engine_that_stops_answering_is_told_and_no_build_begins(scene: Any) -> None:
    scene.serves()
    scene.pods = []
    scene.act()

    assert scene.condition("Ready") == ("False", "Starting")
    assert scene.condition("Indexed") == ("True", "Indexed")


def test_another_milvus_of_somebody_else_is_searched_once_the_index_is_in_it(scene: Any, made: Any) -> None:
    scene.spec["milvus"] = {"topology": "External", "external": {"uri": "https://old:19530"}}
    scene.serves()
    assert scene.condition("Ready") == ("True", "Indexed")
    scene.spec["milvus"]["external"]["uri"] = "https://new:19530"
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.status["endpoint"] == "https://old:19530"
    scene.act()
    assert (
        '"uri": "https://new:19530"'
        in scene.children["ConfigMap", scene.job["metadata"]["name"]]["data"]["config.json"]
    )

    scene.job_ends({"result": made.result})
    scene.act()
    assert scene.status["endpoint"] == "https://new:19530"
