"""The custom resources that this operator serves."""

from __future__ import annotations

from hearth.plan.world import KindPlan

KINDS: tuple[KindPlan, ...] = ()
