"""Builds that fail, are tried again, or get no pod."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hearth.api.base import Json
from hearth.plan.conditions import rfc3339
from hearth.plan.world import Delete


def test_an_attempt_that_failed_is_told_while_the_job_tries_again(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job_ends({"error": {"class": "Unavailable", "message": "embedder does not answer"}}, code=69)
    del scene.job["status"]
    scene.act()

    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.condition("Stalled")[0] == "False"
    assert "the last attempt ended with: embedder does not answer" in scene.message()


def test_a_build_that_gets_no_pod_is_told_after_a_minute_with_where_to_look(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job["status"] = {"startTime": "2026-11-24T12:00:00Z"}
    scene.now = datetime(2026, 11, 24, 12, 0, 50, tzinfo=UTC)
    assert scene.act().look_again == timedelta(seconds=10)
    assert scene.condition("Indexed") == ("False", "Building")

    scene.now += timedelta(seconds=10)
    scene.act()
    assert scene.condition("Indexed") == ("False", "PodsNotCreated")
    assert scene.condition("Stalled") == ("True", "PodsNotCreated")
    name = scene.job["metadata"]["name"]
    assert f"`kubectl -n team describe job {name}` says which" in scene.message()
    before = scene.status
    scene.now += timedelta(hours=5)
    assert scene.act().events == ()
    assert scene.status == before

    labels = {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "index"}
    scene.pods.append({"metadata": {"name": "p", "labels": labels}, "status": {"phase": "Running"}})
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")


def test_what_may_pass_is_tried_again_after_a_rest(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job_ends({"error": {"class": "Unavailable", "message": "embedder does not answer"}}, code=69)
    plan = scene.act()
    assert scene.condition("Stalled") == ("True", "Unavailable")
    assert plan.look_again == timedelta(minutes=5)

    scene.now += timedelta(minutes=6)
    scene.act()
    assert not any(kind == "Job" for kind, _ in scene.children)
    scene.pods.pop()
    scene.act()
    assert "status" not in scene.job
    scene.pods.append(indexing(scene))
    scene.act()
    scene.progress = pushed(scene, embedded=100)
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")


def indexing(scene: Any) -> Json:
    """A pod of the Job that has begun just now."""
    labels = {"batch.kubernetes.io/job-name": scene.job["metadata"]["name"], "hearth.dev/component": "index"}
    began = {"running": {"startedAt": rfc3339(scene.now)}}
    return {
        "metadata": {"name": "again", "labels": labels, "creationTimestamp": rfc3339(scene.now)},
        "status": {"phase": "Running", "containerStatuses": [{"name": "indexer", "state": began}]},
    }


def pushed(scene: Any, embedded: int) -> Json:
    metrics = {"documents": 5, "chunks": 400, "embedded": embedded}
    return {"metrics": metrics, "percentage": 0, "receivedAt": rfc3339(scene.now)}


def test_while_an_embedder_is_away_its_builds_are_one_failure(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    outage = {"error": {"class": "Unavailable", "message": "embedder does not answer", "suggestion": "start it"}}
    scene.job_ends(outage, code=69)
    scene.act()
    assert scene.message() == "build {} failed: embedder does not answer; it is tried again; start it".format(
        scene.status["builds"]["building"]
    )
    before = scene.status
    for _ in range(3):
        scene.now += timedelta(minutes=6)
        assert scene.act().events == ()  # the Job goes
        scene.pods.pop()
        assert scene.act().events == ()  # and comes back
        scene.pods.append(indexing(scene))
        assert scene.act().events == ()
        assert scene.status == before
        scene.pods.pop()
        scene.job_ends(outage, code=69)
        scene.job["status"]["conditions"][0]["lastTransitionTime"] = rfc3339(scene.now)
        assert scene.act().events == ()
        assert scene.status == before


@pytest.mark.parametrize("end", ["its own resources", "half an hour"])
def test_the_failure_of_a_build_goes_with_the_spec_it_was_of_or_the_try_that_gets_further(scene: Any, end: str) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job_ends({"error": {"class": "Unavailable", "message": "embedder does not answer"}}, code=69)
    scene.act()
    scene.now += timedelta(minutes=6)
    scene.act()
    scene.pods.pop()
    scene.act()
    scene.pods.append(indexing(scene))
    assert scene.act().look_again == timedelta(minutes=30)
    if end == "half an hour":
        scene.now += timedelta(minutes=30)
    else:
        scene.generation += 1
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    assert scene.condition("Stalled")[0] == "False"


def killed(scene: Any, reason: str) -> None:
    """The indexer's pod was ended with SIGKILL, and the Job with it."""
    scene.job_ends({}, code=137)
    ended = scene.pods[-1]["status"]["containerStatuses"][0]["state"]["terminated"]
    ended |= {"reason": reason, "message": ""}
    scene.pods[-1]["spec"] = scene.job["spec"]["template"]["spec"]


def test_a_build_that_ran_out_of_memory_is_not_tried_again_until_it_is_given_more(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    killed(scene, "OOMKilled")
    plan = scene.act()
    assert scene.condition("Stalled") == ("True", "OOMKilled")
    assert "more memory than its limit of 3Gi; raise indexer.resources.limits.memory" in scene.message()
    assert not scene.status["failure"]["retryable"]
    assert plan.look_again is None
    scene.now += timedelta(hours=1)
    assert not any(isinstance(a, Delete) for a in scene.act().actions)

    scene.spec["indexer"] = {"resources": {"limits": {"memory": "8Gi"}}}
    scene.act()
    scene.pods.pop()
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")
    (container,) = scene.job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "8Gi"}}
    assert "failure" not in scene.status


def test_a_build_that_was_killed_for_another_reason_is_tried_again_after_a_rest(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    killed(scene, "Error")
    plan = scene.act()
    assert scene.condition("Stalled") == ("True", "IndexerFailed")
    assert "was killed (exit code 137) and not for its memory limit" in scene.message()
    assert plan.look_again == timedelta(minutes=5)


def test_a_result_that_was_lost_is_asked_for_again(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    scene.job_ends({"result": {}})
    scene.pods.pop()
    scene.act()

    assert not any(kind == "Job" for kind, _ in scene.children)
    scene.act()
    assert scene.condition("Indexed") == ("False", "Building")


def test_an_image_that_cannot_be_pulled_is_named(scene: Any) -> None:
    scene.act()
    scene.engine_answers()
    scene.act()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
    labels = {"batch.kubernetes.io/job-name": scene.job["metadata"]["name"]}
    status = {"containerStatuses": [{"name": "indexer", "image": "indexer", "state": waiting}]}
    scene.pods.append({"metadata": {"name": "p", "labels": labels}, "status": status})
    scene.act()

    assert scene.condition("Stalled") == ("True", "ImagePullFailed")
    assert "image indexer cannot be pulled: manifest unknown" in scene.message()
