"""What commands that only look gather beside the objects themselves."""

import pytest
from hearth.api.base import Json
from hearth.plan.settings import Settings
from hearth.runtime.kinds import KINDS
from hearth.runtime.snapshot import empty_cache, take_authority

IMAGES = dict.fromkeys(("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite"), "r/x:1")


def config_map(name: str, **data: str) -> Json:
    meta = {"name": name, "namespace": "law", "uid": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.mark.parametrize(
    ("own", "handed", "expected"),
    [("", {"ca.crt": "PEM"}, "PEM"), ("MINE", {"ca.crt": "PEM"}, "MINE"), ("", {"train.json": "{}"}, "")],
    ids=["as pods were handed it", "as the settings say", "nobody has one"],
)
def test_a_plan_hands_pods_the_authority_that_they_have(own: str, handed: dict[str, str], expected: str) -> None:
    cache = empty_cache(KINDS, Settings.model_validate({"images": IMAGES, "progress_ca": own}))
    cache.put(config_map("court-engine", **{"drain.py": "x"}))
    cache.put(config_map("court-train", **handed))
    take_authority(cache)
    assert cache.settings.progress_ca == expected
