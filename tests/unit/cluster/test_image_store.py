"""Image stores outlive the clusters that filled them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearth_cluster import image_store


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hearth" / "containerd"


def test_a_lone_cluster_finds_the_store_of_the_one_before(stores: Path) -> None:
    assert image_store.choose([]) == image_store.choose([""]) == stores / "0"


def test_no_two_clusters_share_a_store(stores: Path) -> None:
    assert image_store.choose([str(stores / "0"), str(stores / "2")]) == stores / "1"


def test_the_header_of_a_table_names_no_container() -> None:
    table = "CONTAINER    IMAGE    RUNTIME\nabc    localhost/x:1    io.containerd.runc.v2\ndef    -    -\n"
    assert image_store.identifiers(table) == ["abc", "def"]
    assert image_store.identifiers("CONTAINER    IMAGE    RUNTIME\n") == []
