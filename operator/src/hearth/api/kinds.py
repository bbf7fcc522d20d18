"""The kinds that Hearth serves."""

from __future__ import annotations

from hearth.api.crd_kind import CustomKind

KINDS: tuple[CustomKind, ...] = ()
