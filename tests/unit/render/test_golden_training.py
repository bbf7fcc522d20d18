"""Rendered objects of a FineTuneJob, reviewed as text. `HEARTH_GOLDEN=write` writes the file anew."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import yaml
from hearth.api.base import Json
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.shapes import Accelerator
from hearth.render.training_job import TrainingPod, claim, prepare_job, train_job

GOLDEN = Path(__file__).parent / "golden" / "fine_tune_job.yaml"
OWNER: Json = {"kind": "FineTuneJob", "metadata": {"name": "court", "namespace": "law", "uid": "u"}}
SPEC = FineTuneJobSpec.model_validate(
    {
        "model": {"uri": "hf://Qwen/Qwen3-8B@main", "secretRef": {"name": "hub"}},
        "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}, "eval": {"uri": "pvc://shared/eval"}},
        "accelerator": {"count": 1, "minMemory": "24G", "minComputeCapability": "8.0"},
        "scheduling": {"queueName": "team-a", "priorityClassName": "batch", "nodeSelector": {"pool": "gpu"}},
        "checkpoints": {"storage": {"size": "40Gi", "storageClassName": "fast"}},
        "budget": {"retries": 1},
        "podOverrides": {"labels": {"team": "law"}, "env": [{"name": "A", "value": "b"}]},
    }
)
ON_CPU = FineTuneJobSpec.model_validate(
    {"model": {"uri": "oci://models/smollm2"}, "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}}}
)


def objects() -> list[Json]:
    pod = TrainingPod(
        "registry/trainer@sha256:0", Accelerator(**dict(SPEC.accelerator or {})), 2**33, 2**34, "https://p:8443"
    )
    return [
        claim(OWNER, SPEC, 2**30),
        prepare_job(OWNER, SPEC, "court-prepare-0123abcd", "registry/trainer@sha256:0"),
        train_job(OWNER, SPEC, "court-train-0123abcd", pod),
        train_job(OWNER, ON_CPU, "court-train-4567cdef", replace(pod, accelerator=Accelerator(count=0))),
    ]


def test_rendered_objects_are_as_reviewed() -> None:
    if os.environ.get("HEARTH_GOLDEN") == "write":
        GOLDEN.write_text(yaml.safe_dump_all(json.loads(json.dumps(objects())), sort_keys=False))

    assert list(yaml.safe_load_all(GOLDEN.read_text())) == objects()
