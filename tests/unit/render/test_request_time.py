"""A pod that stops lets every request finish that it has, unless the service says otherwise."""

from typing import Any

import pytest
from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.shapes import Accelerator
from hearth.render.gateway import gateway_config, gateway_deployment
from hearth.render.vllm import EngineChoice, engine_deployment

OWNER: Json = {"kind": "LLMService", "metadata": {"name": "court", "namespace": "law"}}
CHOICE = EngineChoice(
    image="vllm:1",
    uri="oci://x",
    digest="sha256:0",
    verify=False,
    served_name="court",
    device="CPU",
    accelerator=Accelerator(count=0),
    max_model_len=2048,
    max_concurrency=16,
    weight_bytes=1,
    kv_cache_bytes=1,
    memory_bytes=1,
)


def pods(**fields: Any) -> tuple[Json, Json, Json]:
    """The gateway's configuration, and the pods of gateway and engine."""
    spec = LLMServiceSpec.model_validate({"model": {"uri": "oci://x"}} | fields)
    config = gateway_config(
        OWNER, spec, served_name="court", domain="cluster.local", max_model_len=2048, max_concurrency=16, index=None
    )
    deployments = gateway_deployment(OWNER, spec, "gateway:1", config), engine_deployment(OWNER, spec, CHOICE, 1)
    gateway, engine = (d["spec"]["template"]["spec"] for d in deployments)
    return config, gateway, engine


@pytest.mark.parametrize(
    ("fields", "request_seconds", "drain"),
    [
        ({}, 600, 600),
        ({"gateway": {"requestTimeout": "1h"}}, 3600, 3600),
        ({"gateway": {"requestTimeout": "2m"}}, 120, 600),
        ({"rollout": {"drainDeadline": "90s"}}, 600, 90),
        ({"gateway": {"requestTimeout": "1h"}, "rollout": {"drainDeadline": "2h"}}, 3600, 7200),
    ],
)
def test_a_stopping_pod_has_as_long_as_a_request_may_take_unless_it_is_told_otherwise(
    fields: dict[str, Any], request_seconds: int, drain: int
) -> None:
    config, gateway, engine = pods(**fields)
    (container,) = engine["containers"]
    hook = container["lifecycle"]["preStop"]["exec"]["command"]
    settle = int(hook[-2])
    assert config["requestTimeoutSeconds"] == request_seconds
    assert config["drainSeconds"] == int(hook[-1]) == drain
    for pod in (gateway, engine):
        assert pod["terminationGracePeriodSeconds"] > settle + drain
