"""Who reads the weights of a FineTuneJob, and so keeps its volume from being deleted with it."""

from __future__ import annotations

from typing import Any

import pytest
from hearth.plan import finetunejob, llmservice
from hearth.plan.world import ObjectKey

COURT = ObjectKey("FineTuneJob", "law", "court")


def resource(spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": "x", "namespace": "law"}, "spec": spec, "status": status or {}}


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"model": {"fromFineTune": {"name": "court"}}}, {}),
        ({"model": {"uri": "pvc://court-artifacts/artifacts/merged-bb"}}, {}),
        ({"model": {"fromFineTune": {"name": "other"}}}, {"resolved": {"fineTuneJob": {"name": "court"}}}),
        ({"model": {"uri": "hf://a/b"}}, {"model": {"uri": "pvc://court-artifacts/artifacts/merged-bb"}}),
        ({"model": {"uri": "hf://a/b"}}, {"resolved": {"model": {"source": "pvc://court-artifacts/artifacts/a"}}}),
        ({"model": {}}, {"resolved": {"fineTuneJob": {"name": "court"}}}),
    ],
    ids=["named", "by its claim", "still served", "still served by its claim", "last read", "a spec that is wrong"],
)
def test_a_service_refers_to_the_job_whose_weights_it_serves(spec: dict[str, Any], status: dict[str, Any]) -> None:
    assert COURT in llmservice.refers_to(resource(spec, status))


@pytest.mark.parametrize("uri", ["pvc://weights/court", "pvc://-artifacts", "oci://court-artifacts/x", "hf://a/b"])
def test_other_sources_refer_to_no_job(uri: str) -> None:
    assert llmservice.refers_to(resource({"model": {"uri": uri}})) == frozenset()


def test_a_job_refers_to_the_one_whose_artifact_it_starts_from_until_it_has_succeeded() -> None:
    rows = {"train": {"uri": "configMap://rows/train.jsonl"}}
    spec = {"model": {"uri": "pvc://court-artifacts/artifacts/merged-bb"}, "dataset": rows}
    assert finetunejob.refers_to(resource(spec)) == {COURT}
    assert finetunejob.refers_to(resource(spec, {"phase": "Succeeded"})) == frozenset(), "it reads it no more"


def test_what_is_only_served_is_not_read_for_the_decision() -> None:
    served = resource({"model": {"uri": "hf://a/b"}}, {"resolved": {"fineTuneJob": {"name": "court"}}})
    assert llmservice.needs(served) == frozenset()
