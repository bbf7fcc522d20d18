"""HTTP: retries, tokens, streams, counting. Against a small server on loopback."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from unittest.mock import patch

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hearth.kube.api import Selection
from hearth.kube.credentials import Credentials, Token
from hearth.kube.errors import ApiError, ConflictError, ConnectionFailedError, GoneError, NotFoundError
from hearth.kube.http_api import PAGE, HttpApi
from hearth.kube.resources import CONFIG_MAP, DEPLOYMENT, NODE, REPLICA_SET, Resource
from hearth.kube.transport import Request, Transport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GET = Request("GET", "/x", "get", "things")


class Answers:
    """Answers in turn; keeps the requests."""

    def __init__(self, *answers: tuple[int, dict, dict]) -> None:
        self.answers = list(answers)
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status, headers=headers)


@asynccontextmanager
async def serving(handler: Handler, **fields: object) -> AsyncIterator[tuple[Transport, list[tuple[str, int]]]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    counted: list[tuple[str, int]] = []

    def count(*, verb: str, resource: str, code: int, seconds: float) -> None:
        counted.append((verb, code))

    async with TestServer(app) as server:
        credentials = Credentials(server=str(server.make_url("")).rstrip("/"), **fields)
        with patch("asyncio.sleep", _no_sleep):
            async with Transport(credentials, count) as transport:
                yield transport, counted


async def _no_sleep(seconds: float) -> None:
    _slept.append(seconds)


_slept: list[float] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    _slept.clear()


async def test_an_overloaded_server_is_asked_again_after_the_time_it_names() -> None:
    answers = Answers((429, {}, {"Retry-After": "7"}), (200, {"ok": True}, {}))
    async with serving(answers) as (transport, counted):
        assert json.loads(await transport.send(GET)) == {"ok": True}
    assert counted == [("get", 429), ("get", 200)]
    assert max(_slept) >= 7


async def test_a_server_error_is_tried_again_but_not_for_ever() -> None:
    answers = Answers((503, {"kind": "Status", "message": "no leader", "code": 503}, {}))
    async with serving(answers) as (transport, counted):
        with pytest.raises(ApiError, match="no leader"):
            await transport.send(GET)
    assert len(counted) == 6


@pytest.mark.parametrize(("code", "kind"), [(404, NotFoundError), (409, ConflictError), (410, GoneError)])
async def test_an_answer_about_the_request_itself_is_final(code: int, kind: type[ApiError]) -> None:
    async with serving(Answers((code, {}, {}))) as (transport, counted):
        with pytest.raises(kind):
            await transport.send(GET)
    assert len(counted) == 1


async def test_a_request_that_must_not_be_sent_twice_is_not() -> None:
    once = Request("POST", "/x", "create", "things", repeatable=False)
    async with serving(Answers((500, {}, {}))) as (transport, counted):
        with pytest.raises(ApiError):
            await transport.send(once)
    assert len(counted) == 1


async def test_a_rejected_token_is_read_anew_once() -> None:
    tokens = iter([Token("old", 60.0), Token("new", 60.0)])
    answers = Answers((401, {}, {}), (200, {}, {}))
    async with serving(answers, token_source=lambda: next(tokens)) as (transport, _):
        await transport.send(GET)
    assert [r.headers["Authorization"] for r in answers.requests] == ["Bearer old", "Bearer new"]


async def test_a_server_that_is_not_there_is_named() -> None:
    async def unused(request: web.Request) -> web.Response:
        return web.Response()

    async with serving(unused) as (transport, counted):
        transport.credentials.server = "http://127.0.0.1:9"
        with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1:9"):
            await transport.send(GET)
    assert {code for _, code in counted} == {0}


async def test_a_stream_is_cut_into_lines_however_long() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        long = json.dumps({"type": "ADDED", "object": {"metadata": {"name": "x" * 300_000, "resourceVersion": "2"}}})
        await response.write(long[:1000].encode())
        await response.write((long[1000:] + "\n").encode())
        await response.write(b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "3"}}}\n')
        return response

    async with serving(stream) as (transport, _):
        events = [e async for e in HttpApi(transport).watch(Selection(CONFIG_MAP), "1")]
    assert [e.type for e in events] == ["ADDED", "BOOKMARK"]
    assert len(events[0].object["metadata"]["name"]) == 300_000
    assert events[0].object["kind"] == "ConfigMap"


async def test_a_gap_inside_a_stream_is_an_error_of_its_own() -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}\n')
        return response

    async with serving(stream) as (transport, _):
        with pytest.raises(GoneError):
            [e async for e in HttpApi(transport).watch(Selection(CONFIG_MAP), "1")]


async def test_a_list_asks_for_the_next_chunk_until_there_is_none() -> None:
    first = {"metadata": {"resourceVersion": "5", "continue": "more"}, "items": [{"metadata": {"name": "a"}}]}
    last = {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]}
    answers = Answers((200, first, {}), (200, last, {}))
    async with serving(answers) as (transport, _):
        what = Selection(REPLICA_SET, "ns", labels="a=b", metadata_only=True)
        pages = [page async for page in HttpApi(transport).list(what)]
    assert [i["metadata"]["name"] for p in pages for i in p.items] == ["a", "b"]
    assert {i["kind"] for p in pages for i in p.items} == {"ReplicaSet"}
    assert answers.requests[1].query == {"labelSelector": "a=b", "limit": str(PAGE), "continue": "more"}
    assert "PartialObjectMetadataList" in answers.requests[0].headers["Accept"]
    assert answers.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("name", ["", ".", ".."])
async def test_what_no_object_can_be_called_is_not_asked_for(name: str) -> None:
    answers = Answers((200, {"kind": "ConfigMapList", "items": []}, {}))
    async with serving(answers) as (transport, _):
        api = HttpApi(transport)
        for read in (api.get, api.get_metadata):
            with pytest.raises(NotFoundError):
                await read(CONFIG_MAP, "law", name)
    assert answers.requests == []


async def test_an_apply_is_forced_and_names_its_manager() -> None:
    answers = Answers((200, {}, {}))
    async with serving(answers) as (transport, _):
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns"}}
        await HttpApi(transport).apply(CONFIG_MAP, obj, "hearth/children")
    (request,) = answers.requests
    assert request.method == "PATCH"
    assert request.path == "/api/v1/namespaces/ns/configmaps/a"
    assert request.query == {"fieldManager": "hearth/children", "force": "true"}
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"


async def test_a_deletion_carries_the_uid_and_takes_absence_for_success() -> None:
    answers = Answers((404, {}, {}))
    async with serving(answers) as (transport, _):
        await HttpApi(transport).delete(DEPLOYMENT, "ns", "d", "uid-1", "Orphan")
    body = json.loads(answers.bodies[0])
    assert (body["preconditions"], body["propagationPolicy"]) == ({"uid": "uid-1"}, "Orphan")


@pytest.mark.parametrize(
    ("resource", "arguments", "path"),
    [
        (CONFIG_MAP, ("ns", "a"), "/api/v1/namespaces/ns/configmaps/a"),
        (DEPLOYMENT, ("ns", "d", "status"), "/apis/apps/v1/namespaces/ns/deployments/d/status"),
        (DEPLOYMENT, (), "/apis/apps/v1/deployments"),
        (NODE, ("", "n"), "/api/v1/nodes/n"),
        (NODE, ("ignored", "n"), "/api/v1/nodes/n"),
        (CONFIG_MAP, ("ns", "../secrets/x"), "/api/v1/namespaces/ns/configmaps/..%2Fsecrets%2Fx"),
    ],
)
def test_paths(resource: Resource, arguments: tuple[str, ...], path: str) -> None:
    assert resource.path(*arguments) == path


@pytest.mark.parametrize(("listed", "is_listed"), [("hearth.dev/v1alpha1", True), ("hearth.dev/v1", False)])
async def test_a_version_is_looked_for_in_the_list_of_groups(listed: str, is_listed: bool) -> None:
    groups = [{"name": "apps", "versions": [{"groupVersion": "apps/v1"}]}, {"versions": [{"groupVersion": listed}]}]
    async with serving(Answers((200, {"groups": groups}, {}))) as (transport, _):
        assert await HttpApi(transport).lists_version("hearth.dev/v1alpha1") is is_listed
