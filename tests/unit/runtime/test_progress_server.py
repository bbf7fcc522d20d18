"""Progress messages: who may send them, what they must look like, how often they wake anybody."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from fake_api import FakeApi
from harness import Clock
from hearth.api.base import Json
from hearth.kube.cache import WatchCache
from hearth.kube.errors import ApiError
from hearth.kube.resources import Resource
from hearth.plan.world import ObjectKey
from hearth.runtime.progress_server import BODY_LIMIT, ProgressServer, claimed_pod
from widget import KIND_PLAN, SETTINGS, widget, widget_key

PATH = "/v1/progress/default/widgets/w"
METRICS = [{"name": "step", "value": "12"}, {"name": "loss", "value": "0.5"}]
MESSAGE = {
    "trainerStatus": {
        "progressPercentage": 12,
        "estimatedRemainingSeconds": 90,
        "metrics": METRICS,
        "lastUpdatedTime": "2026-01-01T00:00:00Z",
    }
}


def figure(name: str, value: str) -> Json:
    """A message with one figure."""
    return {"trainerStatus": {"metrics": [{"name": name, "value": value}]}}


class Reviewing(FakeApi):
    """Answers token reviews: what `token_of` signed is good."""

    def __init__(self) -> None:
        super().__init__()
        self.reviews: list[str] = []
        self.audience = "hearth-progress"
        self.is_down = False

    async def create(self, resource: Resource, obj: Json) -> Json:
        if self.is_down:
            raise ApiError(500, "InternalError", "etcd is away")
        token = obj["spec"]["token"]
        self.reviews.append(token)
        if not token.endswith(".signed"):
            return {"status": {"authenticated": False}}
        extra = {"authentication.kubernetes.io/pod-uid": [claimed_pod(token)]}
        user = {"username": "system:serviceaccount:default:default", "extra": extra}
        return {"status": {"authenticated": True, "audiences": [self.audience], "user": user}}


def token_of(pod_uid: str, signature: str = "signed") -> str:
    """A token as the API server makes it for a pod."""
    claims = {"aud": ["hearth-progress"], "kubernetes.io": {"namespace": "default", "pod": {"uid": pod_uid}}}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.{signature}"


class Setup:
    def __init__(self) -> None:
        self.api, self.clock = Reviewing(), Clock()
        self.cache = WatchCache([KIND_PLAN], SETTINGS, lambda key, spec_is_new: None)
        self.woken: list[tuple[ObjectKey, float]] = []
        self.server = ProgressServer(
            self.api, self.cache, lambda key, delay: self.woken.append((key, delay)), self.clock.monotonic
        )
        self.client: TestClient[Any, Any]
        for number, name in enumerate(("w", "other")):
            self.see("Widget", name, "", number, spec=widget(name)["spec"])
            self.see("Job", f"{name}-train", f"uid-{name}", number)
            self.see("Pod", f"{name}-pod", f"uid-{name}-train", number)

    def see(self, kind: str, name: str, controller: str, version: int, **fields: object) -> None:
        meta: Json = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(version + 1)}
        if controller:
            meta["ownerReferences"] = [{"uid": controller, "controller": True, "kind": "X", "name": "x"}]
        self.cache.put({"apiVersion": "v1", "kind": kind, "metadata": meta, **fields})

    async def post(
        self, token: str | None = token_of("uid-w-pod"), body: object = MESSAGE, path: str = PATH
    ) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.client.post(path, json=body, headers=headers) as answer:
            return answer.status, await answer.text()

    def progress(self) -> Json | None:
        world = self.cache.observe(widget_key("w"))
        assert world is not None
        return world.progress


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    setup = Setup()
    app = web.Application(client_max_size=BODY_LIMIT)
    app.router.add_post("/v1/progress/{namespace}/{plural}/{name}", setup.server.receive)
    async with TestClient(TestServer(app)) as client:
        setup.client = client
        yield setup


async def test_a_pod_of_the_resource_may_tell_its_progress(setup: Setup) -> None:
    assert await setup.post() == (204, "")
    progress = setup.progress()
    assert progress is not None
    assert progress.pop("receivedAt").endswith("Z")
    assert progress == {"percentage": 12, "etaSeconds": 90, "metrics": {"step": "12", "loss": "0.5"}}
    assert setup.woken == [(widget_key("w"), 0)]


@pytest.mark.parametrize(
    ("token", "status", "told"),
    [
        (None, 401, "expected a bearer token"),
        ("anything", 401, "expected a bearer token"),
        ("a.b.c", 401, "expected a bearer token"),
        (token_of("uid-w-pod", "forged"), 401, "and one that is good"),
        (token_of("uid-other-pod"), 403, "the pod is not one of Widget default/w"),
        (token_of("uid-w"), 403, "the pod is not one of Widget default/w"),
        (token_of("uid-nobody"), 403, "the pod is not one of Widget default/w"),
    ],
)
async def test_nobody_else_may(setup: Setup, token: str | None, status: int, told: str) -> None:
    code, text = await setup.post(token)
    assert code == status
    assert told in text
    assert setup.progress() is None


async def test_whoever_sends_just_anything_costs_no_review(setup: Setup) -> None:
    for token in ("anything", token_of("uid-nobody"), token_of("uid-other-pod")):
        await setup.post(token)
    assert setup.api.reviews == []


async def test_a_token_for_another_audience_is_not_accepted(setup: Setup) -> None:
    setup.api.audience = "https://kubernetes.default.svc"
    assert (await setup.post())[0] == 401


async def test_an_unknown_resource_is_not_found(setup: Setup) -> None:
    code, text = await setup.post(path="/v1/progress/default/gadgets/w")
    assert (code, "expected one of widgets" in text) == (404, True)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "trainerStatus: Field required"),
        ({"trainerStatus": {"progressPercentage": 120}}, "trainerStatus.progressPercentage"),
        ({"trainerStatus": {"metrics": [{"name": "loss"}]}}, "trainerStatus.metrics.0.value: Field required"),
        ({"trainerStatus": {"metrics": METRICS * 40}}, "trainerStatus.metrics"),
        ({"trainerStatus": {"estimatedRemainingSeconds": 10**12}}, "trainerStatus.estimatedRemainingSeconds"),
        (figure("step", "12.0"), "step is '12.0'; expected a whole number"),
        (figure("documents", "-3"), "documents is '-3'; expected a whole number"),
        (figure("total_steps", "9" * 16), "expected a whole number of at most 15 digits"),
        (figure("loss", "low"), "loss is 'low'; expected a number such as 0.0312"),
    ],
)
async def test_a_wrong_message_is_told_what_is_wrong(setup: Setup, body: Json, told: str) -> None:
    code, text = await setup.post(body=body)
    assert code == 400
    assert told in text
    assert setup.progress() is None


@pytest.mark.parametrize(("name", "value"), [("loss", "nan"), ("loss", "1e-05"), ("grad_norm", "any"), ("step", "0")])
async def test_figures_that_a_status_can_hold_or_does_not_speak_of_are_taken(
    setup: Setup, name: str, value: str
) -> None:
    assert (await setup.post(body=figure(name, value)))[0] == 204
    assert (setup.progress() or {})["metrics"] == {name: value}


async def test_a_message_of_any_size_does_not_fill_the_memory(setup: Setup) -> None:
    assert (await setup.post(body={"x": "y" * BODY_LIMIT}))[0] == 413


async def test_the_resource_is_woken_at_most_every_ten_seconds_and_sees_the_newest(setup: Setup) -> None:
    due = []
    for second in range(25):
        setup.clock.seconds = 1000 + second
        setup.woken.clear()
        await setup.post(body={"trainerStatus": {"progressPercentage": second}})
        due += [1000 + second + delay for _, delay in setup.woken]
    assert due == [1000, 1010, 1020, 1030]
    assert (setup.progress() or {})["percentage"] == 24


async def test_a_token_is_reviewed_once_a_minute(setup: Setup) -> None:
    for _ in range(5):
        await setup.post()
    assert setup.api.reviews == [token_of("uid-w-pod")]
    setup.clock.seconds += 61
    await setup.post()
    assert len(setup.api.reviews) == 2


async def test_a_review_that_fails_asks_the_sender_to_come_back(setup: Setup) -> None:
    setup.api.is_down = True
    assert (await setup.post())[0] == 503
