"""The custom resources that this operator serves."""

from __future__ import annotations

from hearth.plan.finetunejob import KIND_PLAN as FINE_TUNE_JOB
from hearth.plan.llmservice import KIND_PLAN as LLM_SERVICE
from hearth.plan.vectorindex import KIND_PLAN as VECTOR_INDEX
from hearth.plan.world import KindPlan

KINDS: tuple[KindPlan, ...] = (FINE_TUNE_JOB, VECTOR_INDEX, LLM_SERVICE)
