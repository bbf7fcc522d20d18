"""A FineTuneJob on a real node: real model, real trainer, a volume that fills up, a pod that goes, and bad input."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from helm import Helm
from namespaces import own_namespace
from restricted_pod import NAMESPACE_LABELS, restricted_pod

pytestmark = pytest.mark.e2e

STEPS = 40
"""Enough that a pod which is sent away after its first checkpoint is still training: a step takes a second."""
NAMESPACE = "finetune-e2e"
SMALL, LARGE = "300Mi", "2Gi"
"""Sizes of the volume: the smallest that xfs makes, which holds some three checkpoints of 60 MB, and enough."""
EAT_MEMORY = """
import os, time
while True:
    if os.fork() == 0:
        held = bytearray(2**27)
        time.sleep(60)
    time.sleep(0.1)
"""
"""Small processes: where the kernel does not end the whole container, it ends the largest, which is the trainer."""
RECORDS = Path(__file__).resolve().parents[2] / "examples" / "court-records"
ONE_THREAD = [{"name": "OMP_NUM_THREADS", "value": "1"}]
"""Other tests run beside: a second thread would be waited for at each of thousands of small products."""
ASKED = ("case_number", "defendant", "verdict")
CHECK_MANIFEST = """
import hashlib, json, pathlib, sys
folder = pathlib.Path("/data") / sys.argv[1]
manifest = json.loads((folder / "manifest.json").read_text())
for file in manifest["files"]:
    data = (folder / file["path"]).read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"]), file["path"]
canonical = json.dumps(manifest["files"], sort_keys=True, separators=(",", ":"))
assert manifest["digest"] == "sha256:" + hashlib.sha256(canonical.encode()).hexdigest() == sys.argv[2]
"""


def checkpoints(size: str) -> dict[str, Any]:
    """One every two steps, on a volume of this size."""
    return {"intervalSteps": 2, "keep": 8, "storage": {"size": size, "storageClassName": "hearth-block"}}


def short(line: str) -> str:
    """A row of the court records in small: three of its facts, in a fifth of the tokens."""
    record = json.loads(json.loads(line)["completion"])
    facts = {name: record[name] for name in ASKED}
    return json.dumps({"prompt": f"{', '.join(facts.values())}. As JSON:", "completion": json.dumps(facts)})


def checkpoint_in(log: str) -> int:
    """The step of the newest complete checkpoint that a trainer told of; 0 before the first."""
    return max((int(step) for step in re.findall(r"checkpoint after step (\d+) is complete", log)), default=0)


class Namespace:
    """One namespace of the cluster, and what a user does in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def job(self, name: str, **spec: Any) -> None:
        """Applies a FineTuneJob on a few court records."""
        training = {"maxSteps": STEPS, "globalBatchSize": 1, "microBatchSize": 1, "learningRate": "1e-3"}
        body = {
            "model": {"uri": "oci://" + self.cluster.state.images["models/smollm2-135m-instruct"]},
            "dataset": {
                "train": {"uri": "configMap://records/train.jsonl"},
                "eval": {"uri": "configMap://records/eval.jsonl"},
            },
            "training": training,
            "accelerator": {"count": 0},
            "podOverrides": {"env": ONE_THREAD},
            "checkpoints": checkpoints(LARGE),
            "evaluation": {
                "metrics": ["ExactMatch", "JSONFieldF1", "Loss"],
                "gate": {"metric": "Loss", "beats": ["base"]},
            },
        }
        metadata = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply(
            {"apiVersion": "hearth.dev/v1alpha1", "kind": "FineTuneJob", "metadata": metadata, "spec": body | spec}
        )

    def records(self, name: str, **files: list[str]) -> None:
        """Applies a ConfigMap of JSON Lines."""
        data = {f"{key}.jsonl": "\n".join(lines) + "\n" for key, lines in files.items()}
        metadata = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("-n", NAMESPACE, "finetunejob", name).get("status", {})
        return found

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.status(name).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {"status": "Unknown", "reason": "", "message": ""})

    def warnings(self, name: str) -> list[str]:
        """The reasons of the Warnings about a job."""
        events = self.cluster.get("-n", NAMESPACE, "events.events.k8s.io")["items"]
        return [e["reason"] for e in events if e["regarding"]["name"] == name and e["type"] == "Warning"]

    def pods(self, name: str, component: str) -> list[dict[str, Any]]:
        labels = f"hearth.dev/name={name},hearth.dev/component={component}"
        found: list[dict[str, Any]] = self.cluster.get("-n", NAMESPACE, "pods", "-l", labels)["items"]
        return found

    def training(self, name: str) -> list[str]:
        """The names of the pods that run."""
        return [p["metadata"]["name"] for p in self.pods(name, "train") if p["status"]["phase"] == "Running"]

    def wait(self, what: str, seconds: float, look: Callable[[], object]) -> None:
        until = time.monotonic() + seconds
        while not look():
            assert time.monotonic() < until, (
                f"{what}: not within {seconds} s\n{self.kubectl('get', 'ftj,pod', '-o', 'wide')}"
            )
            time.sleep(0.5)

    def wait_reason(self, name: str, reason: str, seconds: float = 180) -> dict[str, Any]:
        self.wait(f"{name} {reason}", seconds, lambda: self.condition(name, "Ready")["reason"] == reason)
        self.wait(f"a Warning {reason} about {name}", 15, lambda: reason in self.warnings(name))
        return self.condition(name, "Ready")


@pytest.fixture(scope="module")
def law(node_cluster: Cluster, hearth: Helm) -> Iterator[Namespace]:
    made = Namespace(node_cluster)
    lines = {n: (RECORDS / f"{n}.jsonl").read_text(encoding="utf-8").splitlines() for n in ("train", "eval")}
    with own_namespace(node_cluster, NAMESPACE, **NAMESPACE_LABELS):
        made.records(
            "records", train=[short(x) for x in lines["train"][:24]], eval=[short(x) for x in lines["eval"][:3]]
        )
        yield made


@dataclass
class Filled:
    """What a full volume came to."""

    ready: dict[str, Any]
    log: str
    pods: int

    @property
    def intact(self) -> int:
        """The step of the newest checkpoint that was complete before the volume was full."""
        return checkpoint_in(self.log)


@pytest.fixture(scope="module")
def filled(law: Namespace) -> Filled:
    """A job that runs out of room for checkpoints."""
    law.job("court", checkpoints=checkpoints(SMALL))
    ready = law.wait_reason("court", "DiskFull", 400)
    (pod,) = law.pods("court", "train")
    return Filled(ready, law.kubectl("logs", pod["metadata"]["name"]), len(law.pods("court", "train")))


@pytest.fixture(scope="module")
def trained(law: Namespace, filled: Filled) -> str:
    """The same job on a larger volume; its pod is sent away in the middle; waited for to its end."""
    law.job("court")
    saved = filled.intact
    law.wait("a pod", 300, lambda: law.training("court"))
    (first,) = law.training("court")
    law.wait("a checkpoint", 300, lambda: checkpoint_in(law.kubectl("logs", first)) > saved)
    assert f"training resumes at checkpoint-{saved}" in law.kubectl("logs", first)
    law.kubectl("delete", "pod", first, "--wait=false")
    law.wait("another pod", 300, lambda: {p["metadata"]["name"] for p in law.pods("court", "train")} - {first})
    law.wait("the end", 900, lambda: law.status("court").get("completionTime"))
    return "court"


def test_a_full_disk_is_told_and_not_tried_again(law: Namespace, filled: Filled) -> None:
    assert "the volume is full" in filled.ready["message"]
    assert "raise spec.checkpoints.storage.size" in filled.ready["message"]
    assert filled.pods == 1
    assert filled.intact >= 2


def test_rows_were_checked_first(law: Namespace, trained: str) -> None:
    assert law.condition(trained, "DataReady")["message"].startswith("24 rows to learn from and 3 held out")


def test_more_room_and_a_new_pod_each_resumed_at_a_complete_checkpoint(
    law: Namespace, filled: Filled, trained: str
) -> None:
    assert law.condition(trained, "Ready")["reason"] == "Succeeded"
    assert law.status(trained)["progress"]["step"] == STEPS
    assert law.status(trained)["checkpoint"]["step"] > filled.intact
    last = next(p for p in law.pods(trained, "train") if p["status"]["phase"] == "Succeeded")
    assert "training resumes at checkpoint-" in law.kubectl("logs", last["metadata"]["name"])


def test_base_and_tuned_model_were_measured(law: Namespace, trained: str) -> None:
    scores = {(s["subject"], s["metric"]): float(s["value"]) for s in law.status(trained)["evaluation"]}
    assert scores["tuned", "Loss"] < scores["base", "Loss"]
    assert law.status(trained)["gate"]["passed"] is True


def test_every_file_of_the_artifacts_has_the_digest_on_record(law: Namespace, trained: str) -> None:
    artifacts = {a["kind"]: a for a in law.status(trained)["artifacts"]}
    assert set(artifacts) == {"Adapter", "Merged"}
    for kind, artifact in artifacts.items():
        claim, _, path = artifact["uri"].removeprefix("pvc://").partition("/")
        law.cluster.apply(reader(law, f"check-{kind.lower()}", claim, [path, artifact["digest"]]))
        law.kubectl("wait", f"pod/check-{kind.lower()}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")


def reader(law: Namespace, name: str, claim: str, arguments: list[str]) -> dict[str, Any]:
    """A pod that checks an artifact as an engine pod would."""
    image, command = law.cluster.state.images["gateway"], ["python3", "-c", CHECK_MANIFEST, *arguments]
    data = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    return restricted_pod(name, NAMESPACE, image, command, {"/data": data})


def test_a_trainer_that_is_killed_for_memory_is_told_with_the_plan_and_not_tried_again(law: Namespace) -> None:
    law.job("greedy")
    law.wait("the pod", 180, lambda: law.training("greedy"))
    (pod,) = (p["metadata"]["name"] for p in law.pods("greedy", "train"))
    with pytest.raises(ClusterError):  # whoever eats what the trainer was given is killed with it
        law.kubectl("exec", pod, "--", "python3", "-c", EAT_MEMORY)
    message = law.wait_reason("greedy", "OOMKilled")["message"]
    assert "was ended for using more memory than its limit of" in message
    assert re.search(r"planned were \d\.\d GiB: weights 0\.5 GiB, adapter .*, activations .*, overhead", message)
    law.wait("the pod to go", 60, lambda: not law.pods("greedy", "train"))
    assert law.kubectl("get", "job", "-l", "hearth.dev/name=greedy", "-o", "name").count("-train-") == 0
    law.kubectl("delete", "finetunejob", "greedy")


def test_a_trainer_that_cannot_fit_gets_no_pod(law: Namespace) -> None:
    law.job("tight", podOverrides={"resources": {"limits": {"memory": "300Mi"}, "requests": {"memory": "300Mi"}}})
    ready = law.wait_reason("tight", "DoesNotFit")
    assert "but the pod can have 0.3 GiB" in ready["message"]
    assert law.pods("tight", "train") == []


def test_a_broken_line_is_named_and_mending_it_recovers(law: Namespace) -> None:
    good = json.dumps({"prompt": "Who?", "completion": "Me"})
    law.records("broken", train=[good, "{oops"])
    law.job("broken", dataset={"train": {"uri": "configMap://broken/train.jsonl"}}, suspend=False)
    assert "train.jsonl:2" in law.wait_reason("broken", "MalformedRow")["message"]
    assert law.condition("broken", "Stalled")["status"] == "True"
    law.records("broken", train=[good, json.dumps({"prompt": "Where?", "completion": "Here"})])
    law.wait("mended rows", 180, lambda: law.condition("broken", "DataReady")["status"] == "True")
    law.kubectl("delete", "finetunejob", "broken")


def test_a_missing_config_map_is_named_and_making_it_recovers(law: Namespace) -> None:
    law.job("early", dataset={"train": {"uri": "configMap://late/train.jsonl"}})
    assert "ConfigMap late does not exist" in law.wait_reason("early", "SourceNotFound")["message"]
    law.records("late", train=[json.dumps({"prompt": str(n), "completion": "x"}) for n in range(4)])
    law.wait("rows", 180, lambda: law.condition("early", "DataReady")["status"] == "True")
    law.kubectl("delete", "finetunejob", "early")


def test_an_unknown_model_path_a_missing_class_and_a_missing_gpu_are_told(law: Namespace) -> None:
    law.job("nowhere", model={"uri": "pvc://no-such-claim/model"})
    law.job("classless", checkpoints={"storage": {"storageClassName": "no-such-class"}})
    law.job("gpu", accelerator={"count": 1})
    assert (
        "PersistentVolumeClaim no-such-claim does not exist" in law.wait_reason("nowhere", "SourceNotFound")["message"]
    )
    assert (
        "StorageClass no-such-class does not exist" in law.wait_reason("classless", "StorageClassNotFound")["message"]
    )
    assert "no node offers nvidia.com/gpu" in law.wait_reason("gpu", "Unschedulable")["message"]
    for name in ("nowhere", "classless", "gpu", "tight"):
        law.kubectl("delete", "finetunejob", name)


def test_deleting_the_job_keeps_the_weights(law: Namespace, trained: str) -> None:
    law.kubectl("delete", "finetunejob", trained)
    law.wait("the pods to go", 120, lambda: not law.pods(trained, "train"))
    claim = law.cluster.get("-n", NAMESPACE, "pvc", f"{trained}-artifacts")
    assert claim["status"]["phase"] == "Bound"
    assert "ownerReferences" not in claim["metadata"]
    with pytest.raises(ClusterError):
        law.kubectl("get", "finetunejob", trained)
