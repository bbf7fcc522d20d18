"""The custom resources that this operator serves."""

from __future__ import annotations

from hearth.plan.llmservice import KIND_PLAN as LLM_SERVICE
from hearth.plan.world import KindPlan

KINDS: tuple[KindPlan, ...] = (LLM_SERVICE,)
