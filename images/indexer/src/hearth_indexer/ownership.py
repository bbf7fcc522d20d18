"""Whose the collections of an engine are, where several namespaces and clusters share it.

The uid of the VectorIndex decides what a run may drop, release and move an alias from: no other resource of any cluster
has it. So an index that was deleted and created again makes collections of its own and leaves the old ones alone; its
name decides whose vectors it may read, so that it need not embed anything again for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from hearth_indexer.ledger import Build
from hearth_indexer.outcome import BadConfigurationError
from hearth_indexer.settings import RunSettings


def ours(asked: RunSettings, build: Build) -> bool:
    """Whether this index made it. Builds of earlier versions carry no uid; there the alias has to do."""
    return build.alias == asked.alias and build.owner in (asked.mark, asked.owner)


def readable(asked: RunSettings, build: Build) -> bool:
    """Whether an index of the same name made it that is not this one: one that was deleted, or another cluster's.

    Its vectors may be read, for equal texts have equal vectors. The rest is its own.
    """
    same = build.owner.partition("@")[0] == asked.owner
    return same and bool(asked.uid) and build.complete and not ours(asked, build)


def refuse_taken_alias(asked: RunSettings, target: str | None, recorded: Sequence[Build]) -> None:
    """Raises BadConfigurationError where `target`, for which the alias stands, was not made by this index."""
    if target is None or any(b.collection == target and ours(asked, b) for b in recorded):
        return
    made_by = next((b.owner for b in recorded if b.collection == target), "something else")
    raise BadConfigurationError(
        f"alias {asked.alias} stands for {target}, which {made_by} made and not {asked.mark}",
        "delete this VectorIndex and create it again: it then gets an alias that no other one has",
    )
