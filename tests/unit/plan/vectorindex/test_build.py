"""From documents to a serving build, and from one build to the next."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hearth.api.base import Json
from hearth.plan.world import Apply, Delete


def test_the_engine_comes_first_then_the_build(scene: Any) -> None:
    scene.act()
    assert {kind for kind, _ in scene.children} == {"StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget"}
    assert scene.condition("EngineReady") == ("False", "Starting")
    assert scene.condition("Indexed") == ("False", "WaitingForEngine")

    scene.engine_answers()
    scene.act()
    assert scene.condition("EngineReady") == ("True", "Answers")
    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.status["builds"] == {"building": scene.job["metadata"]["labels"]["hearth.dev/build"]}


def test_a_finished_build_serves_and_tells_what_it_found(scene: Any) -> None:
    scene.serves()

    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.message() == "52 documents in 130 chunks, 1 skipped"
    assert scene.condition("RecallMet") == ("True", "Measured")
    assert scene.status["builds"] == {
        "active": scene.job["metadata"]["labels"]["hearth.dev/build"],
        "collection": "handbook_0123456789ab",
        "alias": "handbook",
    }
    assert scene.status["embeddings"][0]["dimension"] == 384
    assert scene.status["recall"] == {"k": 10, "queries": 100, "measured": "0.9920", "target": "0.95"}
    assert scene.status["endpoint"] == "http://handbook-milvus.team.svc.cluster.local:19530"


def test_at_rest_nothing_changes_any_more(scene: Any) -> None:
    scene.serves()
    before, children = scene.status, dict(scene.children)
    scene.now += timedelta(hours=5)
    made = scene.act()

    assert scene.status == before
    assert {k: {**v, "status": {}} for k, v in scene.children.items()} == {
        k: {**v, "status": {}} for k, v in children.items()
    }
    assert made.events == ()
    assert made.look_again is None


CHANGES: dict[str, Any] = {
    "a document": lambda scene, made: scene.around.update(ConfigMap=made.config_map(**{"a.md": "# B"})),
    "the embedding model": lambda scene, made: scene.around.update(LLMService=made.embedder("sha256:" + "b" * 64)),
    "the chunk size": lambda scene, made: scene.spec.update(chunking={"size": 64}),
    "the index type": lambda scene, made: scene.spec.update(index={"type": "FLAT"}),
    "words": lambda scene, made: scene.spec.update(sparse={"enabled": True}),
    "the engine's image": lambda scene, made: scene.spec["milvus"].update(image="milvus:next"),
    "an empty volume": lambda scene, made: scene.around["PersistentVolumeClaim"]["metadata"].update(uid="claim-2"),
    "the wish to read again": lambda scene, made: scene.annotations.update({"hearth.dev/reindex": "2"}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_build_is_made_of_makes_a_new_one_while_the_old_one_serves(scene: Any, made: Any, what: str) -> None:
    scene.serves()
    before = scene.status["builds"]
    CHANGES[what](scene, made)
    plan = scene.act()

    assert any(isinstance(a, Delete) and a.key.kind == "Job" for a in plan.actions)
    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.message().endswith("; the last build still serves")
    assert {k: scene.status["builds"][k] for k in before} == before
    assert scene.status["builds"]["building"] != before["active"]
    assert scene.status["embeddings"][0]["modelDigest"] == "sha256:" + "a" * 64


def test_a_build_begins_once_the_pod_of_the_last_one_has_ended(scene: Any, made: Any) -> None:
    scene.serves()
    scene.around["ConfigMap"] = made.config_map(**{"a.md": "# B"})
    (gone,) = [a for a in scene.decide().actions if isinstance(a, Delete) and a.key.kind == "Job"]
    assert gone.propagation == "Foreground"

    scene.job["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:01Z"
    waiting = scene.decide()
    assert not [a for a in waiting.actions if isinstance(a, Delete) and a.key.kind == "Job"]
    assert not [a for a in waiting.actions if isinstance(a, Apply) and a.obj["kind"] == "Job"]
    (told,) = [c for c in waiting.status["conditions"] if c["type"] == "Indexed"]
    assert told["message"].endswith("begins once the pod of the last one has ended")

    del scene.children["Job", scene.job["metadata"]["name"]]
    scene.act()
    assert scene.job["metadata"]["labels"]["hearth.dev/build"] == scene.status["builds"]["building"]


def test_a_build_that_is_taken_back_may_have_switched_readers_so_the_one_before_is_looked_at_again(
    scene: Any, made: Any
) -> None:
    scene.serves()
    before = scene.status["builds"]
    scene.spec["chunking"] = {"size": 64}
    scene.act()
    scene.act()
    scene.spec["suspend"] = True
    scene.act()
    scene.spec["suspend"] = False
    del scene.spec["chunking"]
    for _ in range(2):
        scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.job["metadata"]["labels"]["hearth.dev/build"] == before["active"]

    scene.job_ends({"result": made.result})
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.status["builds"] == before
    rest = scene.act()
    assert not [a for a in rest.actions if isinstance(a, Delete)]


INDIFFERENT: dict[str, Any] = {
    "the query prefix": lambda spec: spec["embeddings"][0].update(queryPrefix="query: "),
    "kept builds": lambda spec: spec.update(refresh={"keepBuilds": 3}),
    "the indexer's memory": lambda spec: spec.update(indexer={"resources": {"limits": {"memory": "4Gi"}}}),
    "pods": lambda spec: spec.update(podOverrides={"nodeSelector": {"disk": "fast"}}),
    "the deletion policy": lambda spec: spec.update(deletionPolicy="Delete"),
    "the engine's memory": lambda spec: spec["milvus"].update(resources={"requests": {"memory": "2Gi"}}),
}


@pytest.mark.parametrize("what", INDIFFERENT)
def test_what_a_build_is_not_made_of_makes_no_new_one(scene: Any, what: str) -> None:
    scene.serves()
    INDIFFERENT[what](scene.spec)
    scene.act()

    assert scene.condition("Indexed") == ("True", "Indexed")


def test_another_query_prefix_or_key_holds_for_the_build_that_serves(scene: Any) -> None:
    scene.serves()
    assert not {"queryPrefix", "secretRef"} & scene.status["embeddings"][0].keys()
    asked = {"queryPrefix": "query: ", "secretRef": {"name": "key"}}
    scene.spec["embeddings"][0] |= asked
    scene.act()
    assert asked.items() <= scene.status["embeddings"][0].items()

    following = {"name": "text", "serviceRef": {"name": "next"}, "queryPrefix": "search: "}
    scene.spec["embeddings"] = [following]
    scene.act()
    assert asked.items() <= scene.status["embeddings"][0].items(), "what the next embedder needs waits for its build"

    scene.spec["embeddings"] = [{"name": "text", "serviceRef": {"name": "embedder"}}]
    scene.act()
    assert not {"queryPrefix", "secretRef"} & scene.status["embeddings"][0].keys()


def test_another_dimension_is_told_once_it_serves(scene: Any, made: Any) -> None:
    scene.serves()
    scene.around["LLMService"] = made.embedder("sha256:" + "b" * 64)
    scene.act()
    scene.act()
    result = {**made.result, "embeddings": [{"name": "text", "dimension": 768}], "collection": "handbook_ffffffffffff"}
    scene.job_ends({"result": result})
    plan = scene.act()

    assert scene.status["embeddings"][0]["dimension"] == 768
    assert scene.condition("Ready") == ("True", "Indexed")
    notes = {e.reason: e.note for e in plan.events}
    assert "now has 768 dimensions" in notes["DimensionChanged"]
    assert "before 384" in notes["DimensionChanged"]
    assert notes["BuildSwitched"] == "readers were switched from handbook_0123456789ab to handbook_ffffffffffff"


def test_more_than_the_engine_can_do_is_a_clear_condition_and_the_index_serves_on(scene: Any) -> None:
    scene.serves()
    serving = scene.status["builds"]
    scene.spec["sparse"] = {"enabled": True}
    scene.act()
    scene.act()
    said = "sparse.enabled asks for BM25, but this engine (v2.3.5-lite) can do only: Dense"
    error = {"class": "NotSupported", "message": said, "suggestion": "leave sparse out"}
    scene.job_ends({"error": error}, code=64)
    scene.act()

    assert scene.condition("Stalled") == ("True", "NotSupported")
    assert said in scene.message()
    assert "the last build still serves" in scene.message()
    assert scene.status["failure"]["class"] == "NotSupported"
    assert not scene.status["failure"]["retryable"]
    assert {k: scene.status["builds"][k] for k in serving} == serving

    del scene.spec["sparse"]
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed")
    assert "failure" not in scene.status


def test_recall_below_the_target_is_told_but_serves(scene: Any, made: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job_ends({"result": {**made.result, "recall": {"k": 10, "queries": 100, "measured": 0.8}}})
    scene.act()

    assert scene.condition("RecallMet") == ("False", "BelowTarget")
    assert "recall@10 is 0.8000 over 100 queries; the target is 0.95" in scene.message("RecallMet")
    assert scene.message("RecallMet").endswith(
        "no search parameter reached it; set index.type to FLAT, or lower the target"
    )
    assert scene.condition("Ready") == ("True", "Indexed")


def test_a_raised_recall_target_asks_for_other_search_parameters_before_another_index_type(
    scene: Any, made: Any
) -> None:
    scene.serves()
    scene.spec["index"] = {"recallTarget": "0.999"}
    scene.act()

    assert scene.condition("RecallMet") == ("False", "BelowTarget")
    assert scene.message("RecallMet").endswith(
        "search parameters were chosen for 0.95; the next build chooses them anew"
    )
    assert scene.condition("Indexed") == ("False", "Building")
    scene.act()
    tuned = {"recall": {"k": 10, "queries": 100, "measured": 0.9995}, "index": {"type": "HNSW", "search": {"ef": 256}}}
    scene.job_ends({"result": made.result | tuned})
    scene.act()
    assert scene.condition("RecallMet") == ("True", "Measured")
    assert scene.status["index"]["search"] == {"ef": 256}


def test_other_resources_begin_the_pod_of_a_build_again_and_change_no_build_that_serves(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    name = scene.job["metadata"]["name"]
    scene.spec["indexer"] = {"resources": {"requests": {"cpu": "2"}}}
    scene.act()
    assert not any(kind == "Job" for kind, _ in scene.children)
    scene.act()
    assert scene.job["metadata"]["name"] == name, "the same build goes on"
    scene.job_ends({"result": _result()})
    scene.act()
    del scene.spec["indexer"]
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed")
    assert scene.job["metadata"]["name"] == name


def with_token(spec: Json, *path: str | int) -> None:
    for step in path:
        spec = spec[step]
    spec["secretRef"] = {"name": "tokens"}


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        (("sources", 0), "HEARTH_SOURCE_TOKEN_0"),
        (("embeddings", 0), "HEARTH_EMBEDDER_KEY_0"),
        (("milvus", "external"), "HEARTH_MILVUS_TOKEN"),
    ],
    ids=["a source", "an embedder", "Milvus"],
)
@pytest.mark.parametrize("failed", [False, True], ids=["while it is made", "after it failed"])
def test_a_build_goes_on_with_the_tokens_that_the_spec_names_now(
    scene: Any, path: tuple[str | int, ...], variable: str, failed: bool
) -> None:
    scene.spec["milvus"] = {"topology": "External", "external": {"uri": "https://milvus.example:19530"}}
    scene.around["Secret"] = {"kind": "Secret", "metadata": {"name": "tokens"}}
    scene.spec["sources"][0]["uri"] = "https://wiki.example/handbook.html"
    scene.act()
    name = scene.job["metadata"]["name"]
    if failed:
        scene.job_ends({"error": {"class": "BadData", "message": "401 Unauthorized"}}, code=65)
        scene.act()
        assert scene.condition("Stalled") == ("True", "BadData")
    with_token(scene.spec, *path)
    scene.act()
    assert not any(kind == "Job" for kind, _ in scene.children)
    assert "goes on with the tokens that the spec names now" in scene.message("Indexed")
    scene.pods = []
    scene.act()
    assert scene.job["metadata"]["name"] == name, "the same build goes on"
    env = {e["name"]: e for e in scene.job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env[variable]["valueFrom"]["secretKeyRef"]["name"] == "tokens"
    before = json.dumps(scene.job)
    scene.act()
    assert json.dumps(scene.job) == before

    scene.job_ends({"result": _result()})
    scene.act()
    scene.spec["sources"][0]["secretRef"] = {"name": "others"}
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed"), "what serves is not built anew for another token"


def test_a_variable_that_somebody_else_adds_to_the_job_changes_nothing(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    env = scene.job["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "PROXY_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "password"}}})
    name = scene.job["metadata"]["uid"]
    scene.act()
    assert scene.job["metadata"]["uid"] == name


def test_an_upgrade_leaves_a_build_that_resumes_the_configuration_that_its_image_understands(
    scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    key = ("ConfigMap", scene.job["metadata"]["name"])
    before = scene.children[key]["data"]["config.json"]
    monkeypatch.setattr("hearth.render.indexer_job.config", lambda *_: {"newer": True})
    scene.upgrade()
    scene.act()
    assert scene.children[key]["data"] == {"config.json": before, "ca.crt": "NEW PEM"}


def test_progress_is_written_at_most_every_ten_seconds(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    for second, embedded, seen in ((0, 10, 10), (4, 50, 10), (11, 90, 90)):
        metrics = {"documents": "52", "chunks": "130", "embedded": str(embedded)}
        received = f"2026-11-24T12:00:{second:02}Z"
        scene.progress = {"receivedAt": received, "percentage": embedded * 100 // 130, "metrics": metrics}
        scene.act()
        assert scene.status["progress"]["embedded"] == seen

    scene.job_ends({"result": {**scene.status, **_result()}})
    scene.act()
    assert "progress" not in scene.status


def _result() -> dict[str, Any]:
    return {
        "documents": 52, "chunks": 130, "skippedCount": 0, "alias": "handbook", "collection": "c", "engine": "v",
        "embeddings": [{"name": "text", "dimension": 384}], "recall": {"k": 10, "queries": 100, "measured": 1.0},
        "index": {"type": "FLAT", "params": {}, "search": {}}, "capabilities": ["Dense"], "sparse": False,
        "chunking": {"size": 128, "overlap": 16, "exactTokens": True}, "embeddedNow": 130,
    }  # fmt: skip


def test_a_suspended_index_keeps_its_volume_and_what_it_knows(scene: Any) -> None:
    scene.serves()
    scene.spec["suspend"] = True
    scene.act()

    assert scene.children["StatefulSet", "handbook-milvus"]["spec"]["replicas"] == 0
    assert scene.condition("Ready") == ("False", "Suspended")
    assert scene.condition("Stalled")[0] == "False"
    assert scene.status["documents"] == 52

    scene.spec["suspend"] = False
    scene.act()
    assert scene.condition("Ready") == ("True", "Indexed")
