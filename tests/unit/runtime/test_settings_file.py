"""The settings file: one clear message for each way to get it wrong."""

from pathlib import Path

import pytest
from hearth.cli.run import split_names
from hearth.runtime.settings_file import SettingsError, read_settings

IMAGES = dict.fromkeys(("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite"), "r/x:1")


def test_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"images: {IMAGES}\nnamespace: ops\n")
    settings = read_settings(path)
    assert (settings.namespace, settings.images.trainer) == ("ops", "r/x:1")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images: {", "is not YAML"),
        ("", "expected a mapping with the key images, found NoneType"),
        ("images: {trainer: r/x:1}", "images.indexer: Field required"),
        (f"images: {IMAGES}\nimage: x", "image: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        read_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_told_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="pass --settings FILE or set HEARTH_SETTINGS"):
        read_settings(tmp_path / "none.yaml")


def test_namespaces_may_come_one_by_one_or_in_one_word() -> None:
    assert split_names(["a,b", "c"]) == ("a", "b", "c")
    assert split_names(["a b "]) == ("a", "b")
    assert split_names([]) == ()
