"""What `hearth plan` reads from files."""

from pathlib import Path

import pytest
from hearth.api.base import Json
from hearth.cli.app import app
from hearth.cli.manifests import FileError, read_objects, read_resources
from typer.testing import CliRunner

SPEC = "spec: {model: {uri: 'oci://example.com/model:1'}}"


def service(metadata: str, spec: str = SPEC, version: str = "hearth.dev/v1alpha1") -> str:
    return f"apiVersion: {version}\nkind: LLMService\nmetadata: {metadata}\n{spec}\n"


def test_objects_are_read_from_documents_and_lists() -> None:
    text = "kind: A\nmetadata: {name: a}\n---\nkind: List\nitems:\n- kind: B\n  metadata: {name: b}\n"
    assert [o["kind"] for o in read_objects(text, "world.yaml")] == ["A", "B"]


def test_an_empty_list_holds_nothing() -> None:
    assert read_objects("kind: List\nitems:\n---\n", "world.yaml") == []


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "just words", "kind: A", "kind: List\nitems: 5", "? [a]\n: b", "&a [*a]"),
        *(
            "kind: A\nmetadata:",
            "kind: A\nmetadata: name",
            "kind: A\nmetadata: {name: 123}",
            "kind: A\nmetadata: {name: }",
        ),
        *("kind: 5\nmetadata: {name: a}", "kind: A\nmetadata: {name: a, labels: x}"),
        *("kind: A\napiVersion:\nmetadata: {name: a}", "kind: A\nmetadata: {name: a, namespace: 5}"),
    ],
)
def test_a_file_that_holds_no_objects_is_named(text: str) -> None:
    with pytest.raises(FileError, match=r"world\.yaml"):
        read_objects(text, "world.yaml")


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        (service("{name: ab, annotations: , labels: }"), {"name": "ab"}),
        (service("{name: ab, namespace: }"), {"name": "ab"}),
        (service("{name: ab, annotations: {made: 2026-01-01}}"), {"name": "ab", "annotations": {"made": "2026-01-01"}}),
    ],
    ids=["empty blocks", "empty namespace", "a date"],
)
def test_what_templates_leave_is_read_as_the_api_server_reads_it(text: str, metadata: Json) -> None:
    (found,) = read_resources(text, "service.yaml")
    assert found["metadata"] == metadata


def test_a_status_that_is_none_is_not_read() -> None:
    assert "status" not in read_resources(service("{name: ab}", f"{SPEC}\nstatus:"), "service.yaml")[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (service("{name: ab}", "spec:"), "service.yaml: LLMService ab has no spec"),
        (service("{name: ab}", version="hearth.dev/v1"), "there is no LLMService in hearth.dev/v1, only FineTuneJob, "),
        (
            service("{name: ab}").replace("LLMService", "LLMServce"),
            "there is no LLMServce in hearth.dev/v1alpha1, only",
        ),
        (service("{name: ab}", version="hearth.device/v1alpha1"), "holds no FineTuneJob, LLMService, VectorIndex of"),
    ],
    ids=["no spec", "another version", "another kind", "another group"],
)
def test_what_is_no_resource_of_hearth_is_told(text: str, told: str) -> None:
    with pytest.raises(FileError, match=told):
        read_resources(text, "service.yaml")


def test_a_file_in_another_encoding_is_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_bytes(service("{name: court}").encode("utf-16"))
    done = CliRunner().invoke(app, ["plan", "-f", str(file), "--world", "/dev/null"])
    assert done.exit_code == 1
    assert done.stderr == f"hearth: {file} is not UTF-8: invalid start byte at byte 0\n"
