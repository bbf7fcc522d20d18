"""Killed at any moment, the alias stands for a complete generation, and the next run goes on where the last one was."""

from __future__ import annotations

from pathlib import Path

import pytest
from indexer_runs import BATCH, BUILD, Indexer, write_document

pytestmark = pytest.mark.e2e

FIRST_BUILD = (
    "create_collection hearth_builds",
    "create_index hearth_builds",
    "upsert hearth_builds",
    f"create_collection {BUILD}",
    f"create_index {BUILD}",
    f"insert {BUILD}#2",
    f"create_alias {BUILD}",
)

BEFORE_THE_SWITCH = (
    "upsert hearth_builds",
    f"create_collection {BUILD}",
    f"create_index {BUILD}",
    f"insert {BUILD}",
    f"insert {BUILD}#2",
    f"flush {BUILD}",
    f"describe_index {BUILD}",
    f"release_collection {BUILD}",
    f"search {BUILD}",
    "upsert hearth_builds",
    f"alter_alias {BUILD}",
)
"""Every call that changes the engine, and those that wait, count and measure, in the order in which they come."""

BEHIND_THE_SWITCH = (f"drop_collection {BUILD}", "delete hearth_builds")


def test_a_first_build_that_is_killed_again_and_again_is_never_served_before_it_is_complete(index: Indexer) -> None:
    for moment in FIRST_BUILD:
        assert index.killed_before(moment) == -9, moment
        assert index.serving() is None, moment

    result = index().result
    assert index.serving() == result["collection"]
    assert index.rows() == 36
    # Four of the moments lie between embedding a batch and storing it: that batch is embedded again, and no other.
    assert len(index.embedder.asked) == 36 + 4 * BATCH


def test_a_rebuild_that_is_killed_again_and_again_leaves_the_old_generation_serving_until_the_new_one_is_complete(
    index: Indexer, library: Path
) -> None:
    before = index(keepBuilds=0).result["collection"]
    for number in (0, 1):
        write_document(library, number)
    index.embedder.asked.clear()

    for moment in BEFORE_THE_SWITCH:
        assert index.killed_before(moment, keepBuilds=0) == -9, moment
        assert (index.serving(), index.rows()) == (before, 36), moment
    for moment in BEHIND_THE_SWITCH:
        assert index.killed_before(moment, keepBuilds=0) == -9, moment
        assert index.serving() != before, moment
        assert index.rows() == 42, moment

    after = index(keepBuilds=0).result
    assert (after["chunks"], after["embeddedNow"]) == (42, 0)
    assert index.serving() == after["collection"]
    assert set(index.engine.client().list_collections()) == {"hearth_builds", after["collection"]}
    # Six chunks changed, all in the first batch; four of the moments lie between embedding and storing it.
    assert len(index.embedder.asked) == 6 + 4 * 6


def test_what_a_killed_run_left_does_not_stop_the_build_of_other_documents(index: Indexer, library: Path) -> None:
    assert index.killed_before(f"create_index {BUILD}") == -9
    write_document(library, 40)

    assert index().code == 0
    assert index.rows() == 39
    assert len(index.engine.client().list_collections()) == 2, "the ledger and one generation"
