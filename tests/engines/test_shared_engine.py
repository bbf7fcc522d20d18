"""A Milvus of somebody else, with indexes of several namespaces and clusters: none touches what another one made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from indexer_runs import Indexer, write_document

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("engine", ["lite_server"], indirect=True)]

FIRST = {"uid": "1", "alias": "default_handbook_1"}
SECOND = {"uid": "2", "alias": "default_handbook_2"}
BEFORE_UIDS = {"alias": "default_handbook"}


def served(index: Indexer, alias: str) -> str:
    """The collection that the alias stands for."""
    return str(index.engine.client().describe_alias(alias)["collection_name"])


def test_indexes_of_one_name_in_two_clusters_serve_their_own_documents_and_drop_only_their_own(
    index: Indexer, library: Path
) -> None:
    ours = index(**FIRST, keepBuilds=0).result["collection"]
    write_document(library, 40)
    theirs = [index(**SECOND, keepBuilds=0).result["collection"]]
    write_document(library, 41)
    theirs.append(index(**SECOND, keepBuilds=0).result["collection"])

    assert (served(index, FIRST["alias"]), served(index, SECOND["alias"])) == (ours, theirs[1])
    assert set(index.engine.client().list_collections()) == {"hearth_builds", ours, theirs[1]}


def test_an_index_that_was_created_again_embeds_nothing_and_leaves_what_the_first_one_made(index: Indexer) -> None:
    before = index(**FIRST).result["collection"]
    after = index(**SECOND, keepBuilds=0).result

    assert (after["embeddedNow"], after["reused"]) == (0, 36)
    assert {before, after["collection"]} < set(index.engine.client().list_collections())
    assert served(index, FIRST["alias"]) == before


def test_an_index_of_an_earlier_version_goes_on_with_its_collections(index: Indexer, library: Path) -> None:
    before = index(**BEFORE_UIDS).result["collection"]
    upgraded: dict[str, Any] = BEFORE_UIDS | {"uid": "1", "keepBuilds": 0}
    same = index(**upgraded).result
    assert (same["collection"], same["embeddedNow"]) == (before, 0)

    write_document(library, 40)
    assert index(**upgraded).result["embeddedNow"] == 3
    assert before not in index.engine.client().list_collections()


def test_an_alias_that_another_index_has_is_not_moved(index: Indexer, library: Path) -> None:
    first = index(**BEFORE_UIDS, uid="1").result["collection"]
    write_document(library, 40)
    for other in ({"uid": "2"}, {"uid": "2", "owner": "default-hand/book"}):
        refused = index(**BEFORE_UIDS, **other)
        assert refused.code == 64
        assert "which default/handbook@1 made and not" in refused.message["error"]["message"]
        assert served(index, BEFORE_UIDS["alias"]) == first


def test_an_index_that_is_called_as_the_probe_of_another_one_was_stays(index: Indexer) -> None:
    probe = index(alias="handbook_probe", owner="default/handbook-probe").result["collection"]
    assert index().code == 0
    assert served(index, "handbook_probe") == probe
