"""What a build needs and does not find."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_a_missing_config_map_is_named_and_recovers_by_itself(scene: Any, made: Any) -> None:
    scene.around["ConfigMap"] = None
    scene.act()
    scene.engine_answers()
    scene.act()
    assert scene.condition("SourcesReady") == ("False", "SourceNotFound")
    assert "source handbook: ConfigMap handbook does not exist: create it" in scene.message()
    assert scene.condition("Reconciling")[0] == "True"
    assert scene.status["pending"]["waitingOn"] == ["ConfigMap handbook"]

    scene.around["ConfigMap"] = made.config_map()
    scene.act()
    assert scene.condition("SourcesReady") == ("True", "Found")
    assert scene.condition("Indexed") == ("False", "Building")


def test_documents_that_go_away_leave_the_last_build_serving(scene: Any) -> None:
    scene.serves()
    scene.around["ConfigMap"] = None
    scene.act()

    assert scene.condition("SourcesReady") == ("False", "SourceNotFound")
    assert scene.message().endswith("; the last build still serves")
    assert scene.status["builds"]["alias"] == "handbook"


@pytest.mark.parametrize(
    ("source", "around", "complaint"),
    [
        ({"uri": "configMap://handbook/b.md"}, {}, "ConfigMap handbook has no key b.md"),
        ({"uri": "pvc://docs/x"}, {}, "PersistentVolumeClaim docs does not exist"),
        ({"uri": "https://x/a.md", "secretRef": {"name": "t"}}, {}, "Secret t does not exist: create it with the key"),
    ],
)
def test_every_missing_source_is_named(scene: Any, source: Any, around: Any, complaint: str) -> None:
    scene.spec["sources"] = [{"name": "one", **source}]
    scene.spec["milvus"] = {"topology": "External", "external": {"uri": "https://m:19530"}}
    scene.around |= around
    scene.act()

    assert scene.condition("SourcesReady") == ("False", "SourceNotFound")
    assert f"source one: {complaint}" in scene.message()


@pytest.mark.parametrize(
    ("service", "reason", "complaint", "stalled"),
    [
        (None, "EmbedderNotFound", "LLMService embedder does not exist: create it with task: Embed", "False"),
        ({"task": "Generate"}, "EmbedderWrongTask", "has task Generate; an embedder has task: Embed", "True"),
        ({"ready": False}, "EmbedderNotReady", "LLMService embedder does not answer yet", "False"),
    ],
)
def test_an_embedder_that_is_not_there_is_told(
    scene: Any, made: Any, service: Any, reason: str, complaint: str, stalled: str
) -> None:
    scene.around["LLMService"] = None if service is None else made.embedder(**service)
    scene.act()
    scene.engine_answers()
    scene.act()

    assert scene.condition("Indexed") == ("False", reason)
    assert complaint in scene.message()
    assert scene.condition("Stalled")[0] == stalled


def test_an_embedder_that_asks_for_keys_needs_one(scene: Any, made: Any) -> None:
    scene.around["LLMService"] = made.embedder(keys="embedder-keys")
    scene.act()
    scene.engine_answers()
    scene.act()
    assert scene.condition("Indexed") == ("False", "EmbedderKeyNeeded")
    assert scene.condition("Stalled")[0] == "True"
    assert scene.message() == (
        "embedding text: LLMService embedder asks for API keys: put one of them into a Secret under the key token, and "
        "name that Secret in the embedding's secretRef"
    )

    scene.spec["embeddings"][0]["secretRef"] = {"name": "my-key"}
    scene.act()
    assert scene.condition("Indexed") == ("False", "EmbedderKeyNotFound")
    assert "Secret my-key does not exist: create it with the key token" in scene.message()
    assert scene.status["pending"]["waitingOn"] == ["Secret my-key"]

    scene.around["Secret"] = {"kind": "Secret", "metadata": {"name": "my-key"}}
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    (container,) = scene.job["spec"]["template"]["spec"]["containers"]
    key = {"secretKeyRef": {"name": "my-key", "key": "token"}}
    assert {"name": "HEARTH_EMBEDDER_KEY_0", "valueFrom": key} in container["env"]
    (told,) = [
        json.loads(c["data"]["config.json"]) for c in scene.children.values() if "config.json" in c.get("data", {})
    ]
    assert told["embeddings"][0]["apiKeyEnv"] == "HEARTH_EMBEDDER_KEY_0"


def test_another_key_makes_no_other_build(scene: Any, made: Any) -> None:
    scene.around["Secret"] = {"kind": "Secret", "metadata": {"name": "my-key"}}
    scene.serves()
    scene.around["LLMService"] = made.embedder(keys="embedder-keys")
    scene.spec["embeddings"][0]["secretRef"] = {"name": "my-key"}
    scene.act()

    assert scene.condition("Ready") == ("True", "Indexed")


def test_an_embedder_that_rests_does_not_disturb_a_finished_index(scene: Any, made: Any) -> None:
    scene.serves()
    scene.around["LLMService"] = made.embedder(ready=False)
    scene.act()

    assert scene.condition("Ready") == ("True", "Indexed")


def test_a_spec_that_does_not_hold_is_told_and_nothing_is_touched(scene: Any) -> None:
    scene.serves()
    facts = scene.status["builds"]
    scene.spec["sources"][0]["uri"] = "hf://datasets/x"
    plan = scene.act()

    assert plan.actions == ()
    assert scene.condition("Stalled") == ("True", "InvalidSpec")
    assert "spec.sources[0].uri: uri must start with configMap://" in scene.message()
    assert scene.status["builds"] == facts
