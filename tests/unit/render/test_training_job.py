"""The Jobs, volume and configuration of a FineTuneJob."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hearth.api.finetunejob import FineTuneJobSpec
from hearth.api.finetunejob_status import ResolvedTraining
from hearth.api.shapes import Accelerator
from hearth.render.trainer_config import prepare_config, train_config
from hearth.render.training_job import TrainingPod, changeable, claim, config_map, prepare_job, train_job
from hearth_trainer.config import Config

OWNER: dict[str, Any] = {"kind": "FineTuneJob", "metadata": {"name": "court", "namespace": "law"}}
SPEC: dict[str, Any] = {
    "model": {"uri": "oci://models/smollm2"},
    "dataset": {
        "train": {"uri": "configMap://rows/train.jsonl"},
        "eval": {"uri": "pvc://shared/eval", "include": ["*.jsonl"]},
        "checks": {"leakage": "Warn"},
    },
    "adapter": {"rank": 8, "dropout": "0.05", "targetModules": ["q_proj", "v_proj"]},
    "training": {"epochs": 2, "learningRate": "1e-3", "warmupRatio": "0.1", "maxSteps": 40},
    "evaluation": {"metrics": ["ExactMatch", "Loss"], "gate": {"metric": "ExactMatch", "atLeast": "0.5"}},
    "output": {"merge": False, "parity": {"maxLogitDifference": "0.05"}},
}
TRAINING = ResolvedTraining(
    rank=8,
    alpha=16,
    learning_rate="0.001",
    total_steps=40,
    global_batch_size=16,
    micro_batch_size=4,
    max_sequence_length=1024,
    precision="FP32",
    gradient_checkpointing=False,
    seed=7,
    trainer="TRL",
)
GPU_NODES = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
POD = TrainingPod("trainer@sha256:1", Accelerator(count=0), 2**30, 2 * 2**30, "https://progress:8443")


def spec(**changes: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate({**SPEC, **changes})


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def rules_of(job: dict[str, Any]) -> list[tuple[str, Any]]:
    rules = job["spec"]["podFailurePolicy"]["rules"]
    return [(r["action"], r.get("onExitCodes", {}).get("values", "DisruptionTarget")) for r in rules]


def test_interruptions_are_free_and_deterministic_failures_end_the_job() -> None:
    job = train_job(OWNER, spec(), "court-train-1", POD)
    assert rules_of(job) == [("Ignore", "DisruptionTarget"), ("Ignore", [75]), ("FailJob", [64, 65, 66, 73])]
    assert job["spec"]["backoffLimit"] == 3
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert pod_of(job)["restartPolicy"] == "Never"


def test_retries_come_from_the_budget() -> None:
    assert train_job(OWNER, spec(budget={"retries": 0}), "n", POD)["spec"]["backoffLimit"] == 0


def test_the_training_container_is_process_1_with_time_to_save() -> None:
    pod = pod_of(train_job(OWNER, spec(), "court-train-1", POD))
    container = pod["containers"][0]
    assert "command" not in container, "the image's own entry point is exec'ed: a shell would swallow SIGTERM"
    assert container["args"] == ["train"]
    assert pod["terminationGracePeriodSeconds"] == 120


def test_the_pod_holds_a_token_for_progress_and_nothing_else() -> None:
    pod = pod_of(train_job(OWNER, spec(), "court-train-1", POD))
    assert pod["automountServiceAccountToken"] is False
    projected = [v["projected"]["sources"] for v in pod["volumes"] if "projected" in v]
    assert [s["serviceAccountToken"]["audience"] for s in projected[0]] == ["hearth-progress"]
    env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
    assert env["KUBEFLOW_TRAINER_SERVER_URL"] == "https://progress:8443/v1/progress/law/finetunejobs/court"


@pytest.mark.parametrize(("count", "policy"), [(0, "PASSIVE"), (1, None)])
def test_threads_of_a_pod_on_cpu_sleep_while_they_wait(count: int, policy: str | None) -> None:
    made = train_job(OWNER, spec(), "n", replace(POD, accelerator=Accelerator(count=count)))
    env = {e["name"]: e.get("value") for e in pod_of(made)["containers"][0]["env"]}
    assert env.get("OMP_WAIT_POLICY") == policy


def test_each_source_gets_the_token_of_its_own_secret() -> None:
    guarded = spec(
        model={"uri": "hf://team/model@main", "secretRef": {"name": "hub"}},
        dataset={
            "train": {"uri": "https://rows.example/train.jsonl", "secretRef": {"name": "rows"}},
            "eval": {"uri": "https://open.example/eval.jsonl"},
        },
    )
    config = Config.model_validate(prepare_config(guarded, 2048))
    assert config.dataset.eval is not None
    told = (config.model.token_env, config.dataset.train.token_env, config.dataset.eval.token_env)
    assert told == ("HEARTH_MODEL_TOKEN", "HEARTH_TRAIN_TOKEN", None)
    for job in (prepare_job(OWNER, guarded, "n", "trainer"), train_job(OWNER, guarded, "n", POD)):
        env = {e["name"]: e for e in pod_of(job)["containers"][0]["env"]}
        held = {
            name: e["valueFrom"]["secretKeyRef"]
            for name, e in env.items()
            if name.endswith("_TOKEN") and "valueFrom" in e
        }
        assert held == {
            "HEARTH_MODEL_TOKEN": {"name": "hub", "key": "token"},
            "HEARTH_TRAIN_TOKEN": {"name": "rows", "key": "token"},
        }


def test_rows_and_model_are_mounted_read_only_and_only_the_volume_can_be_written() -> None:
    mounts = pod_of(train_job(OWNER, spec(), "court-train-1", POD))["containers"][0]["volumeMounts"]
    writable = [m["mountPath"] for m in mounts if not m.get("readOnly")]
    assert writable == ["/data", "/tmp"]
    assert {m["mountPath"] for m in mounts} >= {"/model", "/rows", "/held-out", "/etc/hearth"}


def test_the_check_reads_the_model_first_and_needs_no_volume() -> None:
    job = prepare_job(OWNER, spec(), "court-prepare-1", "trainer")
    pod = pod_of(job)
    assert [c["name"] for c in pod["initContainers"]] == ["inspect"]
    assert not [v for v in pod["volumes"] if v["name"] == "data"]
    assert ("FailJob", [66]) in rules_of(job)


def test_the_check_runs_where_training_may_run_and_asks_for_no_gpu() -> None:
    placed = spec(
        scheduling={"priorityClassName": "low", "tolerations": [{"key": "team", "operator": "Exists"}]},
        podOverrides={
            "nodeSelector": {"pool": "law"},
            "imagePullSecrets": [{"name": "registry"}],
            "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            "runtimeClassName": "nvidia",
            "resources": {"requests": {"cpu": "8"}, "limits": {"memory": "512Mi"}},
        },
    )
    pod = pod_of(prepare_job(OWNER, placed, "n", "trainer"))
    assert pod["nodeSelector"] == {"pool": "law"}
    assert pod["tolerations"] == [GPU_NODES, {"key": "team", "operator": "Exists"}]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "low"
    assert "runtimeClassName" not in pod
    check = pod["containers"][0]
    for reader in (check, pod["initContainers"][0]):
        assert {"name": "HTTPS_PROXY", "value": "http://proxy:3128"} in reader["env"], "both go to the hub"
    assert check["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}}


def test_a_crash_of_any_container_leaves_the_end_of_its_log() -> None:
    pods = [pod_of(prepare_job(OWNER, spec(), "n", "trainer")), pod_of(train_job(OWNER, spec(), "n", POD))]
    made = [c for pod in pods for c in (*pod.get("initContainers", []), *pod["containers"])]
    assert [c["name"] for c in made] == ["inspect", "prepare", "train"]
    assert {c["terminationMessagePolicy"] for c in made} == {"FallbackToLogsOnError"}


def test_a_check_for_training_on_cpu_keeps_off_the_nodes_with_gpus() -> None:
    assert "tolerations" not in pod_of(prepare_job(OWNER, spec(accelerator={"count": 0}), "n", "trainer"))


def test_a_gpu_is_asked_for_with_the_labels_of_gpu_feature_discovery() -> None:
    gpu = TrainingPod("trainer", Accelerator(count=1, min_memory="24G"), 2**30, 2**30, "https://p")
    pod = pod_of(train_job(OWNER, spec(), "n", gpu))
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["22888"]} in terms[0]["matchExpressions"]


def test_a_queued_job_is_made_suspended_under_its_queue() -> None:
    job = train_job(OWNER, spec(scheduling={"queueName": "team-a"}), "n", POD)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "suspend" not in train_job(OWNER, spec(), "n", POD)["spec"]


def test_only_what_may_change_after_the_start_makes_another_pod() -> None:
    assert changeable(spec()) == changeable(spec(suspend=True))
    assert changeable(spec()) != changeable(spec(podOverrides={"labels": {"a": "b"}}))
    assert changeable(spec()) != changeable(spec(budget={"retries": 1}))


@pytest.mark.parametrize(("storage", "size"), [(None, "3Gi"), ({"size": "20Gi", "storageClassName": "fast"}, "20Gi")])
def test_the_volume_is_as_large_as_asked_for_or_as_needed(storage: dict[str, str] | None, size: str) -> None:
    made = claim(OWNER, spec(checkpoints={"storage": storage} if storage else {}), 2 * 2**30 + 1)
    assert made["metadata"]["name"] == "court-artifacts"
    assert made["spec"]["resources"]["requests"]["storage"] == size
    assert made["spec"].get("storageClassName") == (storage or {}).get("storageClassName")


def test_the_trainer_understands_what_it_is_told() -> None:
    told = train_config(
        spec(),
        TRAINING,
        device="CPU",
        model_digest="sha256:m",
        data_digest="sha256:d",
        run="abc",
        lineage={"image": "i"},
    )
    config = Config.model_validate(told)
    assert config.dataset.eval is not None
    assert (config.dataset.eval.path, config.dataset.eval.include) == ("/held-out/eval", ("*.jsonl",))
    assert config.dataset.checks.leakage == "Warn"
    assert config.checkpoints.path == "/data/checkpoints/abc"
    assert (config.adapter.rank, config.adapter.dropout, config.adapter.target_modules) == (
        8,
        0.05,
        ("q_proj", "v_proj"),
    )
    assert (config.training.max_steps, config.training.warmup_ratio, config.training.seed) == (40, 0.1, 7)
    assert config.training.fast_arithmetic
    assert config.evaluation.gate is not None
    assert (config.evaluation.gate.metric, config.evaluation.gate.at_least) == ("ExactMatch", 0.5)
    assert (config.output.merge, config.output.max_logit_difference) == (False, 0.05)


def test_the_commit_that_was_read_is_trained_and_the_uri_as_written_is_told() -> None:
    told = train_config(
        spec(model={"uri": "hf://team/model@main"}),
        TRAINING,
        device="CPU",
        model_digest="sha256:m",
        data_digest="sha256:d",
        run="abc",
        lineage={"image": "i"},
        revision="c0ffee",
    )
    assert (told["model"]["path"], told["model"]["source"]) == ("hf://team/model@c0ffee", "hf://team/model@main")


def test_the_trainer_understands_the_check_of_the_shortest_spec() -> None:
    short = FineTuneJobSpec.model_validate(
        {"model": {"uri": "pvc://weights/llama"}, "dataset": {"train": {"uri": "hf://team/rows@main"}}}
    )
    config = Config.model_validate(prepare_config(short, 2048))
    assert (config.model.path, config.dataset.train.path) == ("/model/llama", "hf://team/rows@main")


def test_the_configuration_lies_beside_the_certificate_and_the_inspection() -> None:
    data = config_map(OWNER, {"prepare.json": {"a": 1}}, "PEM", {"inspect_model.py": "print()"})["data"]
    assert json.loads(data["prepare.json"]) == {"a": 1}
    assert (data["ca.crt"], data["inspect_model.py"]) == ("PEM", "print()")
