"""A directed graph of keys that can be asked both ways: who points where, and who is pointed at."""

from __future__ import annotations

from hearth.plan.world import ObjectKey

_NOBODY: frozenset[ObjectKey] = frozenset()


class ReferenceGraph:
    """Edges from a key to the keys that it names, whether these exist or not."""

    def __init__(self) -> None:
        self._to: dict[ObjectKey, frozenset[ObjectKey]] = {}
        self._from: dict[ObjectKey, set[ObjectKey]] = {}

    def link(self, source: ObjectKey, targets: frozenset[ObjectKey]) -> frozenset[ObjectKey]:
        """Replaces the edges that leave `source`; returns the targets that were gained or lost."""
        before = self._to.get(source, _NOBODY)
        for lost in before - targets:
            sources = self._from[lost]
            sources.discard(source)
            if not sources:
                del self._from[lost]
        for gained in targets - before:
            self._from.setdefault(gained, set()).add(source)
        if targets:
            self._to[source] = targets
        else:
            self._to.pop(source, None)
        return before ^ targets

    def pointing_at(self, target: ObjectKey) -> frozenset[ObjectKey]:
        """The sources of the edges that end at `target`."""
        return frozenset(self._from.get(target, _NOBODY))

    def pointed_at_by(self, source: ObjectKey) -> frozenset[ObjectKey]:
        """The targets of the edges that leave `source`."""
        return self._to.get(source, _NOBODY)

    def targets(self, kind: str) -> list[ObjectKey]:
        """Every target of one kind, in a fixed order."""
        return sorted(key for key in self._from if key.kind == kind)
