"""How long words about the way are held back, and that nothing else is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hearth.api.base import Json
from hearth.plan.conditions import Condition, merge, ready, reconciling, rfc3339, stalled
from hearth.plan.quiet import BACKLOG, LONGEST, QUIET, settle, while_pods_are_made, while_pods_are_new
from hearth.plan.settings import Images, Settings
from hearth.plan.world import Apply, Plan, World

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
NAMES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
SETTINGS = Settings(images=Images(**dict.fromkeys(NAMES, "image")))


def ago(seconds: float) -> str:
    return rfc3339(NOW - timedelta(seconds=seconds))


def child(age: float, kind: str = "Deployment") -> Json:
    return {"kind": kind, "metadata": {"name": "c", "creationTimestamp": ago(age)}}


def pod(age: float, *, begun: float | None = None, ready: bool = False, phase: str = "Pending") -> Json:
    status: Json = {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}
    if begun is not None:
        status["startTime"] = ago(begun)
    return {"metadata": {"creationTimestamp": ago(age)}, "status": status}


def status(*conditions: Condition, generation: int = 1) -> Json:
    return {"observedGeneration": generation, "conditions": merge((), conditions, generation, NOW)}


def world(live: Json, children: tuple[Json, ...] = (), pods: tuple[Json, ...] = ()) -> World:
    owner: Json = {"metadata": {"generation": 1}, "status": live}
    return World(owner=owner, settings=SETTINGS, children=children, pods=pods)


BEGUN = status(*reconciling("Inspecting", "it begins"))
GOING = status(*reconciling("RollingOut", "0 of 1"))


@pytest.mark.parametrize(
    ("case", "live", "made", "told"),
    [
        ("another step", BEGUN, GOING, False),
        ("the first word", {"observedGeneration": -1}, BEGUN, True),
        ("the end", BEGUN, status(*ready("Serving", "answers")), True),
        ("somebody has to do something", BEGUN, status(*stalled("OOMKilled", "memory")), True),
        ("it served until now", status(*ready("Serving", "answers")), GOING, True),
        ("it was stuck until now", status(*stalled("OOMKilled", "memory")), GOING, True),
        ("another spec", status(*reconciling("Inspecting", ""), generation=0), GOING, True),
    ],
)
def test_only_words_between_the_beginning_and_the_end_are_held_back(
    case: str, live: Json, made: Json, told: bool
) -> None:
    plan = settle(Plan(status=made), world(live), NOW, NOW + QUIET)
    assert (plan.status == made) is told, case
    assert plan.look_again == (None if told else QUIET)


def test_what_is_held_back_is_told_when_the_time_has_come() -> None:
    assert settle(Plan(status=GOING), world(BEGUN), NOW, NOW).status == GOING


@pytest.mark.parametrize(
    ("case", "children", "pods", "after"),
    [
        ("nothing has been made", (), (), None),
        ("a Deployment without pods: its controller is busy", (child(30),), (), BACKLOG),
        ("a pod without a kubelet: scheduler or kubelet is busy", (child(30),), (pod(20),), BACKLOG),
        ("a kubelet has just got the pod", (child(30),), (pod(20, begun=4),), timedelta(seconds=26) + QUIET),
        ("the pod answers, its Deployment has not noticed", (child(30),), (pod(20, begun=19, ready=True),), BACKLOG),
        ("an inspection has ended", (child(30, "Job"),), (pod(20, begun=19, phase="Succeeded"),), BACKLOG),
        ("one pod answers, and the other takes long", (child(30),),
         (pod(20, begun=19, ready=True), pod(18, begun=15)), timedelta(seconds=15) + QUIET),
        ("the child is old, and only its pods are new", (child(1000),), (pod(2),), BACKLOG),
    ],
)  # fmt: skip
def test_a_service_on_its_way_is_spoken_of_when_a_pod_takes_long(
    case: str, children: tuple[Json, ...], pods: tuple[Json, ...], after: timedelta | None
) -> None:
    newest = NOW - timedelta(seconds=1000 if case.startswith("the child is old") else 30)
    expected = datetime.fromtimestamp(0, UTC) + BACKLOG if after is None else newest + after
    assert while_pods_are_made(world(BEGUN, children, pods), (), NOW) == expected


@pytest.mark.parametrize(
    ("case", "children", "pods", "after"),
    [
        ("a Job without pods", (child(30, "Job"),), (), LONGEST),
        ("a ConfigMap alone makes no pods", (child(30, "ConfigMap"),), (), QUIET),
        ("a new pod", (child(30, "Job"),), (pod(20),), timedelta(seconds=10) + QUIET),
        ("pods that keep coming", (child(30, "Job"),), (pod(-200),), LONGEST),
    ],
)
def test_others_are_spoken_of_when_nothing_new_has_been_made(
    case: str, children: tuple[Json, ...], pods: tuple[Json, ...], after: timedelta
) -> None:
    assert while_pods_are_new(world(BEGUN, children, pods)) == NOW - timedelta(seconds=30) + after, case


def test_a_workload_that_is_about_to_be_made_is_the_newest_child() -> None:
    seen = world(BEGUN, (child(1000, "Job"), child(1000, "ConfigMap")))
    made = {"kind": "Deployment", "metadata": {"name": "c"}}
    assert while_pods_are_made(seen, (Apply(made),), NOW) == NOW + BACKLOG
    assert while_pods_are_made(seen, (Apply(made | {"kind": "Service"}),), NOW) < NOW
    assert while_pods_are_made(world(BEGUN, (child(1000),)), (Apply(made),), NOW) < NOW, "it is there already"


@pytest.mark.parametrize("rule", [lambda seen: while_pods_are_made(seen, (), NOW), while_pods_are_new])
def test_no_rule_keeps_silent_for_ever(rule: Callable[[World], datetime]) -> None:
    pods = tuple(pod(-seconds) for seconds in range(0, 3600, 5))
    assert rule(world(BEGUN, (child(0),), pods)) - NOW <= BACKLOG
