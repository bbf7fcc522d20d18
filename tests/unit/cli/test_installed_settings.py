"""Where `hearth plan` finds the settings of the operator that is installed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fake_api import FakeApi
from hearth.api.base import Json
from hearth.cli.app import app
from hearth.cli.installed_settings import LABELS, choose_settings, installed_settings
from hearth.kube.api import Page, Selection
from hearth.kube.errors import ForbiddenError
from hearth.runtime.settings_file import SettingsError
from typer.testing import CliRunner

IMAGES = "{trainer: t:1, indexer: i:1, gateway: g:1, vllm: v:1, vllm_cpu: c:1, milvus: m:1, milvus_lite: l:1}"


def config_map(namespace: str = "hearth-system", text: str = f"images: {IMAGES}", **labels: str) -> Json:
    meta = {"name": "hearth-settings", "namespace": namespace, "labels": LABELS | labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"settings.yaml": text}}


class Narrow(FakeApi):
    """An API server that lets nobody list ConfigMaps but in the namespaces named."""

    def __init__(self, *allowed: str) -> None:
        super().__init__()
        self.allowed = allowed

    async def list(self, what: Selection) -> AsyncIterator[Page]:
        if what.namespace not in self.allowed:
            raise ForbiddenError(403, "Forbidden", 'User "eve" cannot list resource "configmaps"')
        async for page in super().list(what):
            yield page


def read(api: FakeApi, namespace: str | None = None, *objects: Json) -> str:
    for obj in objects:
        api.put(obj)
    return asyncio.run(installed_settings(api, namespace)).images.trainer


def test_the_only_operator_is_found_wherever_it_is() -> None:
    api = FakeApi()
    assert read(api, None, config_map("platform")) == "t:1"
    assert api.writes == []


def test_one_of_several_is_chosen_by_its_namespace() -> None:
    other = config_map("green", f"images: {IMAGES.replace('t:1', 't:2')}")
    assert read(FakeApi(), "green", config_map("blue"), other) == "t:2"


def test_who_may_not_list_all_namespaces_finds_it_where_it_usually_is() -> None:
    assert read(Narrow("hearth-system"), None, config_map()) == "t:1"


@pytest.mark.parametrize(
    ("make", "namespace", "told"),
    [
        (FakeApi, None, "found no ConfigMap of an installed operator in any namespace .* pass --settings FILE"),
        (FakeApi, "blue", "in namespace blue .* install the chart hearth, or pass --settings FILE"),
        (Narrow, None, 'User "eve" cannot list .* ask for the right to list ConfigMaps in namespace hearth-system, or'),
        (lambda: Narrow("hearth-system"), "blue", "ConfigMaps in namespace blue, or pass --settings FILE"),
    ],
    ids=["nothing", "nothing there", "no right", "no right there"],
)
def test_what_is_missing_is_told_with_what_to_do(make: Callable[[], FakeApi], namespace: str | None, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read(make(), namespace)


def test_two_operators_are_named_and_a_choice_is_asked_for() -> None:
    with pytest.raises(SettingsError, match="2 operators: blue/hearth-settings, green/hearth-settings; choose one"):
        choose_settings([config_map("green"), config_map("blue")])


def test_a_wrong_content_is_told_with_the_name_of_the_config_map() -> None:
    with pytest.raises(SettingsError, match="ConfigMap hearth-system/hearth-settings does not hold valid settings"):
        choose_settings([config_map(text="images: {trainer: t:1}")])


def test_the_settings_may_stand_in_the_world_that_stands_for_the_cluster(tmp_path: Path) -> None:
    service = tmp_path / "service.yaml"
    service.write_text(
        "apiVersion: hearth.dev/v1alpha1\nkind: LLMService\nmetadata: {name: court}\n"
        "spec: {model: {uri: 'oci://example.com/model:1'}, accelerator: {count: 0}}\n"
    )
    command = ["plan", "-f", str(service), "-o", "json", "--world"]
    without = CliRunner().invoke(app, [*command, "/dev/null"])
    assert without.exit_code == 1
    assert "pass --settings FILE" in without.stderr

    world = tmp_path / "world.yaml"
    text = f"images: {IMAGES}\\ncluster_domain: corp.example"
    world.write_text(
        "apiVersion: v1\nkind: ConfigMap\n"
        f"metadata: {{name: hearth-settings, namespace: hearth-system, labels: {LABELS}}}\n"
        f'data: {{settings.yaml: "{text}"}}\n'
    )
    found = CliRunner().invoke(app, [*command, str(world)])
    assert found.exit_code == 0, found.output
    assert "http://court.default.svc.corp.example:8000/v1" in found.stdout
