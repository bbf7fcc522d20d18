"""What `hearth plan` says would become of each child."""

import json
from pathlib import Path

import pytest
from hearth.api.base import Json
from hearth.cli.app import app
from hearth.cli.plan import preview_tree
from hearth.cli.preview import Change, as_json, changes, proposed
from hearth.kube.executor import stamped
from hearth.plan.world import Apply, Delete, Event, ObjectKey, Plan
from rich.console import Console
from typer.testing import CliRunner

SETTINGS = "images: {trainer: t:1, indexer: i:1, gateway: g:1, vllm: v:1, vllm_cpu: c:1, milvus: m:1, milvus_lite: l:1}"
OWNER: Json = {
    "apiVersion": "hearth.dev/v1alpha1",
    "kind": "LLMService",
    "metadata": {"name": "court", "namespace": "law", "uid": "u-1", "generation": 3, "resourceVersion": "7"},
    "spec": {"replicas": 1},
    "status": {"phase": "Ready"},
}


def config_map(value: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "court-engine"}, "data": {"key": value}}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        (None, Change("create", "ConfigMap", "court-engine")),
        (stamped(OWNER, config_map("new")), Change("keep", "ConfigMap", "court-engine")),
        (
            stamped(OWNER, config_map("old")),
            Change("change", "ConfigMap", "court-engine", ".data.key"),
        ),
    ],
    ids=["absent", "equal", "different"],
)
def test_a_child_is_created_kept_or_changed(live: Json | None, expected: Change) -> None:
    plan = Plan(status={}, actions=(Apply(config_map("new")),))
    assert changes(OWNER, plan, lambda _key: live) == [expected]


def test_a_deletion_is_told() -> None:
    plan = Plan(status={}, actions=(Delete(ObjectKey("Job", "law", "court-inspect"), "u-2"),))
    assert changes(OWNER, plan, lambda _key: None) == [Change("delete", "Job", "court-inspect")]


def test_a_new_resource_gets_an_identity_and_its_first_generation() -> None:
    wanted = {"kind": "LLMService", "metadata": {"name": "court"}, "spec": {}}
    meta = proposed(wanted, None, "law")["metadata"]
    assert (meta["namespace"], meta["generation"], bool(meta["uid"])) == ("law", 1, True)


@pytest.mark.parametrize(("replicas", "generation"), [(1, 3), (2, 4)])
def test_a_live_resource_keeps_its_status_and_counts_a_generation_only_for_a_new_spec(
    replicas: int, generation: int
) -> None:
    wanted = {**OWNER, "spec": {"replicas": replicas}}
    found = proposed(wanted, OWNER, "law")
    assert found["metadata"]["generation"] == generation
    assert found["status"] == {"phase": "Ready"}
    assert found["spec"] == {"replicas": replicas}


def test_machines_get_changes_status_and_events() -> None:
    plan = Plan(status={"phase": "Failed"}, events=(Event("Warning", "DoesNotFit", "needs 18 GiB"),))
    found = as_json(OWNER, plan, [Change("keep", "Service", "court")])
    assert found["changes"] == [{"verb": "keep", "kind": "Service", "name": "court"}]
    assert found["events"] == [{"type": "Warning", "reason": "DoesNotFit", "note": "needs 18 GiB"}]


def test_a_field_that_is_no_longer_wanted_is_a_change_too() -> None:
    live = stamped(OWNER, {**config_map("new"), "immutable": True})
    plan = Plan(status={}, actions=(Apply(config_map("new")),))
    assert changes(OWNER, plan, lambda _key: live) == [
        Change("change", "ConfigMap", "court-engine", "a field that is no longer wanted")
    ]


def mounting(path: str, digest: str) -> Json:
    container = {"name": "engine", "volumeMounts": [{"name": "tmp", "mountPath": path}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "court-engine", "annotations": {"hearth.dev/template-hash": digest}},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/tmp", ".spec.template.spec.containers[engine].volumeMounts[/tmp]"),
        ("/old", ".metadata.annotations.hearth.dev/template-hash"),
    ],
    ids=["a field and its digest", "only the digest"],
)
def test_the_field_that_differs_is_named_before_the_digest_of_it(path: str, where: str) -> None:
    plan = Plan(status={}, actions=(Apply(mounting(path, "new")),))
    (change,) = changes(OWNER, plan, lambda _key: stamped(OWNER, mounting("/old", "old")))
    assert change.where == where


def test_people_read_all_of_the_field_however_narrow_the_terminal() -> None:
    where = ".spec.template.spec.containers[engine].volumeMounts[/tmp]"
    console = Console(width=60, no_color=True)
    with console.capture() as capture:
        console.print(preview_tree(OWNER, Plan(status={}), [Change("change", "Deployment", "court-engine", where)]))
    _, header, *rows = capture.get().splitlines()
    column = header.index("first difference")
    assert "".join(row[column:].strip() for row in rows) == where


def test_a_plan_is_told_without_a_cluster(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    file = tmp_path / "service.yaml"
    file.write_text(
        "apiVersion: hearth.dev/v1alpha1\nkind: LLMService\nmetadata: {name: court}\n"
        "spec: {model: {uri: 'oci://example.com/model:1'}, accelerator: {count: 0}}\n"
    )
    command = ["plan", "-f", str(file), "--settings", str(settings), "--world", "/dev/null", "-o", "json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    preview = json.loads(result.stdout)[0]
    assert {(c["verb"], c["kind"]) for c in preview["changes"]} >= {("create", "Job")}
    assert {c["type"] for c in preview["status"]["conditions"]} >= {"Ready", "ModelReady"}


def test_resources_of_one_file_see_each_other_in_any_order(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS)
    file = tmp_path / "all.yaml"
    file.write_text(
        "apiVersion: hearth.dev/v1alpha1\nkind: LLMService\nmetadata: {name: assistant}\n"
        "spec: {model: {fromFineTune: {name: court}}, accelerator: {count: 0}}\n---\n"
        "apiVersion: hearth.dev/v1alpha1\nkind: FineTuneJob\nmetadata: {name: court}\n"
        "spec: {model: {uri: 'oci://example.com/model:1'}, dataset: {train: {uri: 'configMap://rows/train.jsonl'}}}\n"
    )
    command = ["plan", "-f", str(file), "--settings", str(settings), "--world", "/dev/null", "-o", "json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    service, job = json.loads(result.stdout)
    assert job["kind"] == "FineTuneJob"
    (model,) = [c for c in service["status"]["conditions"] if c["type"] == "ModelReady"]
    assert model["reason"] == "WaitingForFineTune", model
