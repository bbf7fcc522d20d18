"""Images in real pods of a namespace that enforces restricted Pod Security, with a read-only root file system.

Those of Milvus and of the embedder run in test_index.py, in a namespace of the same kind.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hearth.render.vllm import EXECUTOR, IN_ONE_PROCESS
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from namespaces import own_namespace
from restricted_pod import NAMESPACE_LABELS, restricted_pod

pytestmark = pytest.mark.e2e

NAMESPACE = "images-e2e"


@pytest.fixture(scope="module")
def cluster(node_cluster: Cluster) -> Iterator[Cluster]:
    with own_namespace(node_cluster, NAMESPACE, **NAMESPACE_LABELS):
        node_cluster.apply(engine(node_cluster))  # it takes a while to start: the programs run meanwhile
        yield node_cluster


def pod(name: str, image: str, *, model: str = "", **container: Any) -> dict[str, Any]:
    """A restricted pod, with a model at /model."""
    folders: dict[str, dict[str, Any]] = {}
    if model:
        # vLLM's processes talk through shared memory, of which a container has 64 MiB unless told otherwise.
        folders["/dev/shm"] = {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}
        folders["/model"] = {"image": {"reference": model}}
    return restricted_pod(name, NAMESPACE, image, folders=folders, **container)


def output(cluster: Cluster, described: dict[str, Any]) -> str:
    """What the pod printed, once it ended well."""
    name = described["metadata"]["name"]
    cluster.apply(described)
    done = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
    cluster.kubectl("wait", "-n", NAMESPACE, done, "--timeout=600s", f"pod/{name}")
    printed = cluster.kubectl("logs", "-n", NAMESPACE, name)
    ended = cluster.get("-n", NAMESPACE, "pod", name)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 0, printed
    return printed


def ask(cluster: Cluster, name: str, port: int, path: str, body: object = None, seconds: float = 600) -> Any:
    """Asks the server in the pod until it answers 200; the answer, which is JSON."""
    code = (
        "import sys, urllib.request as u\n"
        f"r = u.Request('http://127.0.0.1:{port}{path}', {json.dumps(body).encode() if body else None!r},"
        " {'Content-Type': 'application/json'})\n"
        "print(u.urlopen(r, timeout=120).read().decode())"
    )
    deadline = time.monotonic() + seconds
    while (answer := _tried(cluster, name, code)) is None:
        phase = cluster.get("-n", NAMESPACE, "pod", name)["status"]["phase"]
        logs = "" if phase == "Pending" else cluster.kubectl("logs", "-n", NAMESPACE, name, "--tail=30")
        assert phase in ("Pending", "Running"), logs
        assert time.monotonic() < deadline, f"{name} gave no answer within {seconds} s:\n{logs}"
        time.sleep(2)
    return json.loads(answer)


def _tried(cluster: Cluster, name: str, code: str) -> str | None:
    try:
        return cluster.kubectl("exec", "-n", NAMESPACE, name, "--", "python3", "-c", code)
    except ClusterError:
        return None


CANNOT_WRITE = """
import os
assert os.getuid() == 65532
open('/tmp/writable', 'w').close()
for folder in ('/', '/opt/venv', '/etc'):
    try:
        open(os.path.join(folder, 'x'), 'w')
    except OSError as error:
        print(folder, os.strerror(error.errno))
"""


@pytest.mark.parametrize(
    ("image", "imports"),
    [
        ("operator", "hearth.cli"),
        ("gateway", "hearth_gateway, pymilvus"),
        ("indexer", "hearth_indexer, pymilvus"),
        ("trainer", "hearth_trainer, trl, peft, datasets"),
    ],
)
def test_our_programs_run_unprivileged_with_nothing_to_write_but_tmp(
    cluster: Cluster, image: str, imports: str
) -> None:
    command = ["python", "-c", f"import {imports}\n{CANNOT_WRITE}"]
    printed = output(cluster, pod(image, cluster.state.images[image], command=command))
    assert printed.count("Read-only file system") == 3


def test_the_operators_image_is_the_command_line(cluster: Cluster) -> None:
    printed = output(cluster, pod("hearth-help", cluster.state.images["operator"], args=["--help"]))
    assert "Usage: hearth" in printed


def test_the_gateway_and_the_indexer_carry_no_torch(cluster: Cluster) -> None:
    code = "import importlib.util; print(importlib.util.find_spec('torch'))"
    for image in ("gateway", "indexer"):
        described = pod(f"{image}-torch", cluster.state.images[image], command=["python", "-c", code])
        assert output(cluster, described).strip() == "None"


def test_the_trainers_torch_computes_and_sees_no_gpu(cluster: Cluster) -> None:
    code = (
        "import torch; x = torch.ones(3, 3, requires_grad=True); (x @ x).sum().backward();"
        "print(torch.cuda.is_available(), x.grad.sum().item())"
    )
    described = pod("torch", cluster.state.images["trainer"], command=["python", "-c", code])
    assert output(cluster, described).strip() == "False 54.0"


def engine(cluster: Cluster) -> dict[str, Any]:
    """vLLM with the small model that chats."""
    options = ("--max-model-len", "1024", "--dtype", "float32", "--enforce-eager", f"--{EXECUTOR}={IN_ONE_PROCESS}")
    return pod(
        "chat",
        cluster.state.images["vllm-cpu"],
        model=cluster.state.images["models/smollm2-135m-instruct"],
        args=["--model", "/model", "--served-model-name", "chat", *options],
        resources={"limits": {"memory": "5Gi"}},
    )


def test_vllm_answers_with_the_small_model_from_its_image_volume(cluster: Cluster) -> None:
    question = {"role": "user", "content": "What is the capital of France?"}
    body = {"model": "chat", "messages": [question], "max_tokens": 20, "temperature": 0}
    answer = ask(cluster, "chat", 8000, "/v1/chat/completions", body)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    cluster.kubectl("delete", "-n", NAMESPACE, "pod", "chat")


def test_a_model_is_found_by_the_tag_that_never_changes(cluster: Cluster) -> None:
    code = "import json; print(json.load(open('/model/config.json'))['model_type'])"
    reference = "registry.hearth.internal/hearth/models/all-minilm-l6-v2:1"
    described = pod("model", cluster.state.images["gateway"], model=reference, command=["python", "-c", code])
    assert output(cluster, described).strip() == "bert"
