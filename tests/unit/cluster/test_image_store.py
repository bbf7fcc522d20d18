"""Image stores outlive the clusters that filled them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearth_cluster import binaries, image_store, native
from hearth_cluster.node_config import NodeFiles
from hearth_cluster.processes import Component, Supervisor


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hearth" / "containerd"


def test_a_lone_cluster_finds_the_store_of_the_one_before(stores: Path) -> None:
    assert image_store.choose([]) == image_store.choose([""]) == stores / "0"


def test_no_two_clusters_share_a_store(stores: Path) -> None:
    assert image_store.choose([str(stores / "0"), str(stores / "2")]) == stores / "1"


@pytest.mark.parametrize(("ctr", "tidy"), [("true", True), ("false", False)], ids=["nothing is there", "ctr fails"])
def test_a_store_is_tidy_only_where_ctr_says_that_nothing_is_left(tmp_path: Path, ctr: str, tidy: bool) -> None:
    assert image_store.tidy(Path("/bin") / ctr, tmp_path / "containerd.sock") is tidy


def test_a_store_is_left_untidy_rather_than_building_ctr(
    stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str) -> Path:
        raise AssertionError(f"{name} would be built")

    monkeypatch.setattr(binaries, "tool", build)
    supervisor = Supervisor(tmp_path)
    supervisor.ensure(Component("containerd", ("/bin/sleep", "60")))
    try:
        assert not native._tidy(supervisor, NodeFiles(tmp_path, tmp_path, tmp_path, tmp_path))
    finally:
        supervisor.stop(["containerd"])


def test_the_header_of_a_table_names_no_container() -> None:
    table = "CONTAINER    IMAGE    RUNTIME\nabc    localhost/x:1    io.containerd.runc.v2\ndef    -    -\n"
    assert image_store.identifiers(table) == ["abc", "def"]
    assert image_store.identifiers("CONTAINER    IMAGE    RUNTIME\n") == []
