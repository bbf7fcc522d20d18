"""What a gateway is told of its own pod."""

from typing import Any

import pytest
from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.render.gateway import gateway_config, gateway_deployment

OWNER: Json = {"kind": "LLMService", "metadata": {"name": "court", "namespace": "law"}}


def config(spec: LLMServiceSpec) -> Json:
    return gateway_config(
        OWNER, spec, served_name="court", domain="cluster.local", max_model_len=2048, max_concurrency=16, index=None
    )


def service(**fields: Any) -> LLMServiceSpec:
    return LLMServiceSpec.model_validate({"model": {"uri": "oci://x"}} | fields)


@pytest.mark.parametrize(
    ("resources", "limit", "told"),
    [
        (None, "512Mi", 512 * 2**20),
        ({"limits": {"memory": "2Gi"}}, "2Gi", 2 * 2**30),
        ({"limits": {"memory": 300_000_000}}, "300000000", 300_000_000),
        ({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}, "512Mi", 512 * 2**20),
        ({"limits": {"memory": "0"}}, "0", 512 * 2**20),
    ],
)
def test_the_gateway_knows_the_memory_that_its_pod_may_take(resources: Json | None, limit: str, told: int) -> None:
    spec = service(gateway={"resources": resources}) if resources else service()
    made = config(spec)
    (container,) = gateway_deployment(OWNER, spec, "gateway:1", made)["spec"]["template"]["spec"]["containers"]
    assert made["memoryBytes"] == told
    assert str(container["resources"]["limits"]["memory"]) == limit
