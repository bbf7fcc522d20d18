"""A question must be embedded by the model that made the vectors: the index says whether it would be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hearth.plan.index_match import TYPE
from hearth_indexer.settings import RunSettings

OTHER = "sha256:" + "b" * 64


def test_an_index_that_serves_says_that_its_embedder_is_still_the_same(scene: Any) -> None:
    scene.act()
    assert scene.condition(TYPE) == ("Unknown", "NoBuild")
    scene.serves()
    assert scene.condition(TYPE) == ("True", "SameModels")


@pytest.mark.parametrize("ready", [False, True], ids=["rolling out", "rolled out"])
def test_another_model_is_told_until_the_vectors_are_its_own(scene: Any, made: Any, ready: bool) -> None:
    scene.serves()
    scene.around["LLMService"] = made.embedder(OTHER, ready=ready)
    scene.act()
    assert scene.condition(TYPE) == ("False", "EmbedderChanged")
    assert scene.message(TYPE) == (
        "LLMService embedder serves model sha256:bbbbbbbbbbbb by now, and the vectors of embedding text were made by "
        "sha256:aaaaaaaaaaaa: questions wait for the next build"
    )

    scene.around["LLMService"] = made.embedder(OTHER)
    scene.act()
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    scene.job_ends({"result": made.result})
    scene.act()
    assert scene.condition(TYPE) == ("True", "SameModels")
    assert scene.status["embeddings"][0]["modelDigest"] == OTHER
    assert scene.status["embeddings"][0]["model"] == "embedder@bbbbbbbbbbbb"


def test_a_suspended_index_tells_it_too(scene: Any, made: Any) -> None:
    scene.serves()
    scene.spec["suspend"] = True
    scene.around["LLMService"] = made.embedder(OTHER)
    scene.act()
    assert scene.condition(TYPE) == ("False", "EmbedderChanged")


def test_the_embedder_of_the_build_that_serves_is_looked_at_whatever_the_spec_names_now(scene: Any) -> None:
    scene.serves()
    scene.spec["embeddings"] = [{"name": "text", "serviceRef": {"name": "another"}}]
    looked_at = {k.name for k in scene.world().related if k.kind == "LLMService"}
    assert looked_at == {"embedder", "another"}


def test_an_embedder_that_is_gone_is_no_other_model(scene: Any) -> None:
    scene.serves()
    scene.around["LLMService"] = None
    scene.act()
    assert scene.condition(TYPE) == ("Unknown", "EmbedderNotFound")


def test_another_served_name_changes_neither_what_gateways_ask_for_nor_the_build(scene: Any, made: Any) -> None:
    scene.serves()
    before = scene.status["builds"], scene.status["embeddings"]
    scene.around["LLMService"] = made.embedder(served="e5")
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.condition(TYPE) == ("True", "SameModels")
    assert (scene.status["builds"], scene.status["embeddings"]) == before
    assert scene.status["embeddings"][0]["model"] == "embedder@aaaaaaaaaaaa"


@pytest.mark.parametrize(("served", "former"), [("embedder", None), ("e5", "e5@aaaaaaaaaaaa")])
def test_vectors_that_an_earlier_version_made_under_the_served_name_are_not_made_again(
    scene: Any, made: Any, served: str, former: str | None
) -> None:
    scene.around["LLMService"] = made.embedder(served=served)
    scene.serves()
    told = [json.loads(c["data"]["config.json"]) for c in scene.children.values() if "config.json" in c.get("data", {})]
    (embedding,) = RunSettings.model_validate(told[0]).embeddings
    assert embedding.made(f"embedder@aaaaaaaaaaaa@{embedding.model_digest}")
    assert embedding.former_model == former
    assert embedding.made(f"{former}@{embedding.model_digest}") is (former is not None)
    assert not embedding.made(f"{embedding.model}@{OTHER}")
    assert not embedding.made(None)
