"""What `hearth plan` says that the API server would refuse."""

import json
from pathlib import Path

import pytest
import yaml
from hearth.api.base import API_VERSION, Json
from hearth.api.kinds import KINDS
from hearth.cli.admission import refusals
from hearth.cli.app import app
from typer.testing import CliRunner

BY_KIND = {kind.kind: kind for kind in KINDS}
SETTINGS = "images: {trainer: t:1, indexer: i:1, gateway: g:1, vllm: v:1, vllm_cpu: c:1, milvus: m:1, milvus_lite: l:1}"
STARTED = {"observedGeneration": 1, "startTime": "2026-01-01T00:00:00Z"}

JOB: Json = {"model": {"uri": "oci://r/m:1"}, "dataset": {"train": {"uri": "oci://r/rows:1"}}, "adapter": {"rank": 8}}
INDEX: Json = {
    "milvus": {"storage": {"size": "2Gi", "storageClassName": "fast"}},
    "sources": [{"name": "docs", "uri": "configMap://handbook"}],
    "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
}
SERVICE: Json = {"model": {"uri": "oci://r/m:1"}, "accelerator": {"count": 0}}


def resource(kind: str, spec: Json, name: str = "court", **rest: Json) -> Json:
    meta = {"name": name, "namespace": "law"}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec, **rest}


@pytest.mark.parametrize(
    ("live", "spec", "told"),
    [
        (resource("FineTuneJob", JOB), {**JOB, "model": {"uri": "oci://r/other:1"}}, []),
        (
            resource("FineTuneJob", JOB, status=STARTED),
            {**JOB, "model": {"uri": "oci://r/other:1"}},
            ["spec.model: spec.model is fixed once the job has started; create a new FineTuneJob"],
        ),
        (
            resource("FineTuneJob", JOB, status=STARTED),
            {k: v for k, v in JOB.items() if k != "adapter"},
            ["spec.adapter: spec.adapter is fixed once the job has started; create a new FineTuneJob"],
        ),
        (resource("FineTuneJob", JOB, status=STARTED), {**JOB, "suspend": True}, []),
        (resource("FineTuneJob", JOB, status=STARTED), {**JOB, "objective": "SFT", "method": "LoRA"}, []),
        (
            resource("VectorIndex", INDEX),
            {**INDEX, "milvus": {"topology": "Lite", "storage": {"size": "1Gi", "storageClassName": "fast"}}},
            [
                (
                    "spec.milvus.topology: topology is fixed: make another VectorIndex beside this one, and delete "
                    "this one when it serves"
                ),
                "spec.milvus.storage.size: a volume only grows: write the old size or a larger one",
            ],
        ),
        (
            resource("VectorIndex", INDEX),
            {**INDEX, "milvus": {"topology": "Standalone", "storage": {"size": "3Gi", "storageClassName": "fast"}}},
            [],
        ),
        (None, INDEX, []),
    ],
    ids=[
        *("another model before the start", "another model after it", "an adapter that is dropped", "suspension"),
        *("defaults written out", "another topology and less room", "more room", "a new index"),
    ],
)
def test_a_change_is_refused_as_the_api_server_would(live: Json | None, spec: Json, told: list[str]) -> None:
    kind = live["kind"] if live else "VectorIndex"
    assert refusals(BY_KIND[kind], resource(kind, spec), live) == told


@pytest.mark.parametrize("name", ["A_b", "Upper", "with.dot", "1st", "ends-", "x" * 64])
def test_a_name_that_cannot_be_a_service_name_is_refused(name: str) -> None:
    (told,) = refusals(BY_KIND["LLMService"], resource("LLMService", SERVICE, name), None)
    assert told.startswith("metadata.name: the name becomes part of Service names")


def test_a_wrong_spec_is_refused_and_one_that_is_stored_already_is_not() -> None:
    wrong = {**SERVICE, "replica": 2}
    assert refusals(BY_KIND["LLMService"], resource("LLMService", wrong), None) == ["spec.replica: unknown field"]
    assert refusals(BY_KIND["LLMService"], resource("LLMService", wrong), resource("LLMService", wrong)) == []


def test_a_live_resource_that_is_older_than_a_rule_may_be_mended() -> None:
    live = resource("LLMService", {**SERVICE, "replica": 2})
    assert refusals(BY_KIND["LLMService"], resource("LLMService", SERVICE), live) == []


def plan(folder: Path, wanted: list[Json], world: list[Json], *options: str) -> tuple[int, str]:
    for name, documents in (("wanted", wanted), ("world", world)):
        (folder / name).write_text(yaml.safe_dump_all(documents))
    (folder / "settings").write_text(SETTINGS)
    files = ["-f", str(folder / "wanted"), "--world", str(folder / "world"), "--settings", str(folder / "settings")]
    done = CliRunner().invoke(app, ["plan", *files, *options], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout


def test_what_would_be_refused_is_told_and_nothing_is_planned_for_it(tmp_path: Path) -> None:
    live = resource("VectorIndex", INDEX)
    live["metadata"] |= {"uid": "u", "resourceVersion": "5", "generation": 1}
    changed = resource("VectorIndex", {**INDEX, "milvus": {"topology": "Lite"}})
    code, out = plan(tmp_path, [changed], [live])
    assert code == 1
    assert "VectorIndex law/court  would be refused" in out
    assert "✗ spec.milvus.topology: topology is fixed" in out
    assert "StatefulSet" not in out


def test_the_other_resources_of_the_file_are_planned_beside_one_that_is_refused(tmp_path: Path) -> None:
    wrong, good = resource("LLMService", {**SERVICE, "replica": 2}, "wrong"), resource("LLMService", SERVICE, "good")
    code, out = plan(tmp_path, [wrong, good], [], "-o", "json")
    refused, planned = json.loads(out)
    assert code == 1
    assert refused["refused"] == ["spec.replica: unknown field"]
    assert refused["changes"] == []
    assert planned["changes"]
