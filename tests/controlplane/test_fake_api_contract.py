"""The API server in memory behaves like a real one, as far as the operator can tell: each case runs against both."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import pytest
from fake_api import FakeApi
from hearth.api.base import Json
from hearth.kube.api import CREATE_ONLY, Api, Selection
from hearth.kube.credentials import from_kubeconfig
from hearth.kube.errors import ConflictError, InvalidError, NotFoundError
from hearth.kube.http_api import HttpApi
from hearth.kube.resources import CONFIG_MAP, DEPLOYMENT
from hearth.kube.transport import Transport
from hearth_cluster.cluster import Cluster
from widget import CRD, WIDGET, run, widget

NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass
class Server:
    api: Api
    namespace: str

    def config_map(self, **fields: object) -> Json:
        data = fields.pop("data", {"a": "1"})
        meta = {"name": "c", "namespace": self.namespace, **fields}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}

    async def get(self) -> Json:
        return await self.api.get(CONFIG_MAP, self.namespace, "c")


@pytest.fixture(params=["fake", "real"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    if request.param == "fake":
        yield Server(FakeApi(), "default")
        return
    cluster: Cluster = request.getfixturevalue("control_plane")
    namespace: str = request.getfixturevalue("namespace")
    cluster.apply(CRD)
    cluster.await_definitions(CRD["metadata"]["name"])
    async with Transport(from_kubeconfig(cluster.kubeconfig)) as transport:
        yield Server(HttpApi(transport), namespace)


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(600):  # the garbage collector looks for new kinds every 30 s
        if await check():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it did not come to pass within 60 s")


async def test_an_apply_that_must_create_creates_once(server: Server) -> None:
    wanted = server.config_map(resourceVersion=CREATE_ONLY)
    created = await server.api.apply(CONFIG_MAP, wanted, "m")
    assert int(created["metadata"]["resourceVersion"]) > 1
    with pytest.raises(ConflictError):
        await server.api.apply(CONFIG_MAP, wanted, "m")


async def test_an_apply_that_must_create_leaves_a_foreign_object_as_it_is(server: Server) -> None:
    before = await server.api.create(CONFIG_MAP, server.config_map(data={"mine": "yes"}))
    with pytest.raises(ConflictError):
        await server.api.apply(CONFIG_MAP, server.config_map(resourceVersion=CREATE_ONLY), "m")
    assert await server.get() == before


async def test_an_apply_for_another_uid_is_refused_naming_the_field(server: Server) -> None:
    before = await server.api.apply(CONFIG_MAP, server.config_map(), "m")
    with pytest.raises(InvalidError, match=r"metadata\.uid"):
        await server.api.apply(CONFIG_MAP, server.config_map(uid=NOBODY, data={"a": "2"}), "m")
    assert await server.get() == before


async def test_an_apply_for_an_object_that_is_gone_is_a_conflict(server: Server) -> None:
    with pytest.raises(ConflictError):
        await server.api.apply(CONFIG_MAP, server.config_map(uid=NOBODY), "m")


async def test_an_apply_that_changes_nothing_leaves_the_version(server: Server) -> None:
    first = await server.api.apply(CONFIG_MAP, server.config_map(), "m")
    again = await server.api.apply(CONFIG_MAP, server.config_map(), "m")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_what_is_no_longer_applied_goes_and_what_others_own_stays(server: Server) -> None:
    await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "1", "b": "1"}), "m")
    await server.api.apply(CONFIG_MAP, server.config_map(data={"c": "theirs"}), "other")
    after = await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "1"}), "m")
    assert after["data"] == {"a": "1", "c": "theirs"}


async def test_a_field_that_two_own_goes_only_with_the_last(server: Server) -> None:
    await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "1", "b": "1"}), "m")
    await server.api.apply(CONFIG_MAP, server.config_map(data={"b": "1"}), "other")
    assert (await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "1"}), "m"))["data"] == {"a": "1", "b": "1"}
    await server.api.apply(CONFIG_MAP, server.config_map(data={"x": "1"}), "other")
    assert (await server.get())["data"] == {"a": "1", "x": "1"}


async def test_a_forced_apply_takes_a_field_over(server: Server) -> None:
    await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "1"}), "m")
    await server.api.apply(CONFIG_MAP, server.config_map(data={"a": "2"}), "other")
    await server.api.apply(CONFIG_MAP, server.config_map(data={"b": "1"}), "m")
    assert (await server.get())["data"] == {"a": "2", "b": "1"}, "what was taken over is not removed by its first owner"


async def test_list_items_are_merged_by_their_key(server: Server) -> None:
    def deployment(**env: str) -> Json:
        obj = run("d", 1)
        obj["metadata"]["namespace"] = server.namespace
        variables = [{"name": name, "value": value} for name, value in env.items()]
        obj["spec"]["template"]["spec"]["containers"][0]["env"] = variables
        return obj

    await server.api.apply(DEPLOYMENT, deployment(A="1", B="1"), "m")
    await server.api.apply(DEPLOYMENT, deployment(C="theirs"), "other")
    after = await server.api.apply(DEPLOYMENT, deployment(A="2"), "m")
    found = {e["name"]: e["value"] for e in after["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert found == {"A": "2", "C": "theirs"}


async def test_a_generation_counts_changes_of_the_spec_alone(server: Server) -> None:
    wanted = widget("w", server.namespace)
    assert (await server.api.apply(WIDGET, wanted, "user"))["metadata"]["generation"] == 1
    told = {**wanted, "status": {"observedGeneration": 1}}
    assert (await server.api.apply_status(WIDGET, told, "op"))["metadata"]["generation"] == 1
    labelled = {**wanted, "metadata": {**wanted["metadata"], "labels": {"a": "b"}}}
    assert (await server.api.apply(WIDGET, labelled, "user"))["metadata"]["generation"] == 1
    changed = widget("w", server.namespace, text="other")
    assert (await server.api.apply(WIDGET, changed, "user"))["metadata"]["generation"] == 2


async def test_spec_and_status_are_written_apart(server: Server) -> None:
    wanted = widget("w", server.namespace)
    created = await server.api.apply(WIDGET, {**wanted, "status": {"phase": "forged"}}, "user")
    assert created["status"] == {"observedGeneration": -1}
    both = {**wanted, "spec": {"text": "forged"}, "status": {"observedGeneration": 1, "phase": "told"}}
    after = await server.api.apply_status(WIDGET, both, "op")
    assert (after["spec"]["text"], after["status"]["phase"]) == ("hello", "told")
    slim = {**wanted, "status": {"observedGeneration": 1}}
    assert "phase" not in (await server.api.apply_status(WIDGET, slim, "op"))["status"]


async def test_a_status_for_an_older_version_is_a_conflict(server: Server) -> None:
    wanted = widget("w", server.namespace)
    seen = await server.api.apply(WIDGET, wanted, "user")
    await server.api.apply(WIDGET, widget("w", server.namespace, text="other"), "user")
    version = seen["metadata"]["resourceVersion"]
    told = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}, "status": {"phase": "old"}}
    with pytest.raises(ConflictError):
        await server.api.apply_status(WIDGET, told, "op")


async def test_what_is_not_there_cannot_be_read_or_told_about(server: Server) -> None:
    with pytest.raises(NotFoundError):
        await server.get()
    with pytest.raises(NotFoundError):
        await server.api.apply_status(WIDGET, {**widget("w", server.namespace), "status": {}}, "op")


async def test_a_create_of_what_exists_and_a_replace_of_what_changed_are_conflicts(server: Server) -> None:
    first = await server.api.create(CONFIG_MAP, server.config_map())
    with pytest.raises(ConflictError):
        await server.api.create(CONFIG_MAP, server.config_map())
    await server.api.replace(CONFIG_MAP, {**first, "data": {"a": "2"}})
    with pytest.raises(ConflictError):
        await server.api.replace(CONFIG_MAP, {**first, "data": {"a": "3"}})
    assert (await server.get())["data"] == {"a": "2"}


async def test_a_merge_patch_changes_what_it_names(server: Server) -> None:
    await server.api.create(CONFIG_MAP, server.config_map(data={"a": "1", "b": "1"}))
    await server.api.merge(CONFIG_MAP, server.namespace, "c", {"data": {"a": "2", "b": None}})
    assert (await server.get())["data"] == {"a": "2"}


async def test_a_deletion_is_for_one_uid(server: Server) -> None:
    created = await server.api.create(CONFIG_MAP, server.config_map())
    await server.api.delete(CONFIG_MAP, server.namespace, "c", NOBODY)
    assert await server.get() == created
    await server.api.delete(CONFIG_MAP, server.namespace, "c", created["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        await server.get()
    await server.api.delete(CONFIG_MAP, server.namespace, "c", created["metadata"]["uid"])


@pytest.mark.parametrize("is_made_again", [False, True])
async def test_children_go_with_their_owner_though_another_has_its_name(server: Server, is_made_again: bool) -> None:
    owner = await server.api.apply(WIDGET, widget("w", server.namespace), "user")
    reference = {"apiVersion": owner["apiVersion"], "kind": "Widget", "name": "w", "uid": owner["metadata"]["uid"]}
    await server.api.apply(CONFIG_MAP, server.config_map(ownerReferences=[{**reference, "controller": True}]), "m")
    await server.api.delete(WIDGET, server.namespace, "w", owner["metadata"]["uid"])
    if is_made_again:
        again = await server.api.apply(WIDGET, widget("w", server.namespace), "user")
        assert again["metadata"]["uid"] != owner["metadata"]["uid"]

    async def is_gone() -> bool:
        try:
            await server.get()
        except NotFoundError:
            return True
        return False

    await eventually(is_gone)


async def test_lists_and_watches_select_by_label(server: Server) -> None:
    labelled = Selection(CONFIG_MAP, server.namespace, labels="team=blue")
    await server.api.apply(CONFIG_MAP, server.config_map(labels={"team": "blue"}), "m")
    pages = [page async for page in server.api.list(labelled)]
    assert [item["metadata"]["name"] for page in pages for item in page.items] == ["c"]
    await server.api.apply(CONFIG_MAP, server.config_map(labels={"team": "blue"}, data={"a": "2"}), "m")
    await server.api.apply(CONFIG_MAP, server.config_map(labels={"team": "red"}), "m")
    back = await server.api.apply(CONFIG_MAP, server.config_map(labels={"team": "blue"}), "m")
    await server.api.delete(CONFIG_MAP, server.namespace, "c", back["metadata"]["uid"])
    types = []
    async with asyncio.timeout(20), aclosing(server.api.watch(labelled, pages[-1].resource_version)) as events:
        async for event in events:
            types.append(event.type)
            if len(types) == 4:
                break
    assert types == ["MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_metadata_alone_can_be_asked_for(server: Server) -> None:
    await server.api.create(CONFIG_MAP, server.config_map())
    what = Selection(CONFIG_MAP, server.namespace, fields="metadata.name=c", metadata_only=True)
    (item,) = [item async for page in server.api.list(what) for item in page.items]
    assert item.keys() == {"apiVersion", "kind", "metadata"}
    assert json.dumps(item["metadata"]).count('"uid"') == 1
    one = await server.api.get_metadata(CONFIG_MAP, server.namespace, "c")
    assert one.keys() == {"apiVersion", "kind", "metadata"}
    assert one["kind"] == "ConfigMap"
