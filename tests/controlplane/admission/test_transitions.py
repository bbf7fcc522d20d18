"""What may change while a resource lives, and what may not; dropping a field is a change too."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.controlplane

STARTED = {"startTime": "2026-11-24T10:00:00Z"}

FIXED_JOB_FIELDS = [
    ("model", {"model": {"uri": "hf://org/other@main"}}),
    ("dataset", {"dataset": {"train": {"uri": "configMap://rows/other"}}}),
    ("dataset", {"dataset": {"evalFraction": "0.1"}}),
    ("adapter", {"adapter": {"rank": 64}}),
    ("adapter", {"adapter": {"rank": None}}),
    ("adapter", {"adapter": None}),
    ("training", {"training": {"seed": 7}}),
    ("trainer", {"trainer": "TRL"}),
    ("evaluation", {"evaluation": {"metrics": ["Loss", "ExactMatch"]}}),
]
"""Field of the complaint, and the change; `trainer` and `evaluation` are added, `adapter` is changed and dropped."""


@pytest.fixture
def job(smallest: Any) -> dict[str, Any]:
    return {**smallest["FineTuneJob"], "adapter": {"rank": 16}}


@pytest.mark.parametrize(("field", "change"), FIXED_JOB_FIELDS, ids=str)
def test_what_defines_the_artifact_is_fixed_once_training_has_started(
    admission: Any, stored: Any, job: Any, field: str, change: dict[str, Any]
) -> None:
    answer = admission.change("FineTuneJob", stored("FineTuneJob", job, STARTED), change)
    assert not answer.accepted
    assert f"spec.{field}: Invalid value" in answer.message
    assert f"spec.{field} is fixed once the job has started; create a new FineTuneJob" in answer.message


@pytest.mark.parametrize(("field", "change"), FIXED_JOB_FIELDS, ids=str)
def test_before_that_everything_may_change(
    admission: Any, stored: Any, job: Any, field: str, change: dict[str, Any]
) -> None:
    assert admission.change("FineTuneJob", stored("FineTuneJob", job), change).accepted


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"scheduling": {"queueName": "team-a"}},
        {"budget": {"deadline": "48h"}},
        {"accelerator": {"count": 0}},
        {"podOverrides": {"nodeSelector": {"disk": "fast"}}},
    ],
    ids=str,
)
def test_how_and_where_a_started_job_runs_may_change(admission: Any, stored: Any, job: Any, change: Any) -> None:
    answer = admission.change("FineTuneJob", stored("FineTuneJob", job, STARTED), change)
    assert answer.accepted, answer.message


KEPT = {"checkpoints": {"storage": {"size": "20Gi", "storageClassName": "fast"}}}
VOLUME_CHANGES = [
    (KEPT, {"checkpoints": {"storage": {"storageClassName": "slow"}}}, "storageClassName is fixed once the job has"),
    (KEPT, {"checkpoints": {"storage": {"storageClassName": None}}}, "storageClassName is fixed once the job has"),
    (KEPT, {"checkpoints": None}, "storageClassName is fixed once the job has"),
    ({}, KEPT, "storageClassName is fixed once the job has"),
    (KEPT, {"checkpoints": {"storage": {"accessMode": "ReadWriteMany"}}}, "accessMode is fixed once the job has"),
]


@pytest.mark.parametrize(("before", "change", "says"), VOLUME_CHANGES, ids=str)
def test_the_volume_of_a_started_job_does_not_move(
    admission: Any, stored: Any, job: Any, before: Any, change: Any, says: str
) -> None:
    answer = admission.change("FineTuneJob", stored("FineTuneJob", {**job, **before}, STARTED), change)
    assert not answer.accepted
    assert says in answer.message


@pytest.mark.parametrize(("before", "change", "says"), VOLUME_CHANGES, ids=str)
def test_before_the_start_there_is_no_volume_yet(
    admission: Any, stored: Any, job: Any, before: Any, change: Any, says: str
) -> None:
    answer = admission.change("FineTuneJob", stored("FineTuneJob", {**job, **before}), change)
    assert answer.accepted, f"{says}: {answer.message}"


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoints": {"storage": {"size": "30Gi"}}},
        {"checkpoints": {"storage": {"size": "10Gi"}}},
        {"checkpoints": {"storage": {"size": None, "accessMode": "ReadWriteOnce"}}},
        {"checkpoints": {"keep": 1}},
    ],
    ids=str,
)
def test_the_size_of_a_started_jobs_volume_may_be_changed_and_changed_back(
    admission: Any, stored: Any, job: Any, change: Any
) -> None:
    answer = admission.change("FineTuneJob", stored("FineTuneJob", {**job, **KEPT}, STARTED), change)
    assert answer.accepted, answer.message


@pytest.mark.parametrize(
    "change",
    [{"model": {"uri": "pvc://models/other"}}, {"replicas": 3}, {"sampling": {"temperature": "0"}}, {"suspend": True}],
    ids=str,
)
def test_a_service_may_change_while_it_serves(admission: Any, smallest: Any, stored: Any, change: Any) -> None:
    answer = admission.change("LLMService", stored("LLMService", smallest["LLMService"]), change)
    assert answer.accepted, answer.message


VOLUME = {"milvus": {"storage": {"size": "20Gi", "storageClassName": "fast"}}}


@pytest.mark.parametrize(
    ("before", "change", "says"),
    [
        ({}, {"milvus": {"topology": "Lite"}}, "topology is fixed"),
        ({"milvus": {"topology": "Lite"}}, {"milvus": None}, "topology is fixed"),
        (VOLUME, {"milvus": {"storage": {"storageClassName": "slow"}}}, "storageClassName is fixed"),
        (VOLUME, {"milvus": {"storage": {"storageClassName": None}}}, "storageClassName is fixed"),
        (VOLUME, {"milvus": {"storage": None}}, "storageClassName is fixed"),
        ({}, VOLUME, "storageClassName is fixed"),
        (VOLUME, {"milvus": {"storage": {"accessMode": "ReadWriteMany"}}}, "accessMode is fixed"),
        (VOLUME, {"milvus": {"storage": {"size": "10Gi"}}}, "a volume only grows"),
        (VOLUME, {"milvus": {"storage": {"size": "20G"}}}, "a volume only grows"),
    ],
    ids=str,
)
def test_the_volume_of_an_index_neither_moves_nor_shrinks(
    admission: Any, smallest: Any, stored: Any, before: Any, change: Any, says: str
) -> None:
    answer = admission.change("VectorIndex", stored("VectorIndex", {**smallest["VectorIndex"], **before}), change)
    assert not answer.accepted
    assert says in answer.message


@pytest.mark.parametrize(
    "change",
    [
        {"milvus": {"storage": {"size": "30Gi"}}},
        {"milvus": {"storage": {"size": 21474836480}}},
        {"chunking": {"size": 256}},
        {"embeddings": [{"name": "other", "serviceRef": {"name": "embedder"}}]},
        {"sources": [{"name": "more", "uri": "configMap://more"}]},
    ],
    ids=str,
)
def test_an_index_may_grow_and_be_built_anew(admission: Any, smallest: Any, stored: Any, change: Any) -> None:
    answer = admission.change("VectorIndex", stored("VectorIndex", {**smallest["VectorIndex"], **VOLUME}), change)
    assert answer.accepted, answer.message


@pytest.mark.parametrize(
    "status",
    [{"conditions": [{"type": "Ready", "status": "True"}]}, {"phase": "not camel case"}, {"observedGeneration": -2}],
    ids=str,
)
def test_a_status_is_held_to_its_schema_too(admission: Any, smallest: Any, stored: Any, status: Any) -> None:
    name = stored("LLMService", smallest["LLMService"])
    assert not admission.status("LLMService", name, status).accepted


SIZED = {"milvus": {"storage": {"size": "4Gi", "storageClassName": "fast"}}}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"milvus": {"topology": "Lite"}}, "topology is fixed"),
        ({"milvus": {"storage": {"storageClassName": "slow"}}}, "storageClassName is fixed"),
        ({"milvus": {"storage": {"storageClassName": None}}}, "storageClassName is fixed"),
        ({"milvus": {"storage": None}}, "storageClassName is fixed"),
        ({"milvus": {"storage": {"accessMode": "ReadWriteOncePod"}}}, "accessMode is fixed"),
        ({"milvus": {"storage": {"size": "2Gi"}}}, "a volume only grows"),
        ({"milvus": {"storage": {"size": "4000Mi"}}}, "a volume only grows"),
    ],
    ids=str,
)
def test_an_index_stays_on_its_volume(admission: Any, smallest: Any, stored: Any, change: Any, complaint: str) -> None:
    answer = admission.change("VectorIndex", stored("VectorIndex", smallest["VectorIndex"] | SIZED), change)
    assert not answer.accepted
    assert complaint in answer.message


@pytest.mark.parametrize(
    "change",
    [
        {"milvus": {"storage": {"size": "5Gi"}}},
        {"milvus": {"storage": {"size": "4096Mi"}}},
        {"chunking": {"size": 64}},
        {"suspend": True},
    ],
    ids=str,
)
def test_an_index_may_grow_and_be_cut_anew(admission: Any, smallest: Any, stored: Any, change: Any) -> None:
    answer = admission.change("VectorIndex", stored("VectorIndex", smallest["VectorIndex"] | SIZED), change)
    assert answer.accepted, answer.message
