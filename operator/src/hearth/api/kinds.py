"""The kinds that Hearth serves."""

from __future__ import annotations

from hearth.api.crd_kind import CustomKind
from hearth.api.finetunejob import KIND as FINE_TUNE_JOB
from hearth.api.llmservice import KIND as LLM_SERVICE
from hearth.api.vectorindex import KIND as VECTOR_INDEX

KINDS: tuple[CustomKind, ...] = (
    FINE_TUNE_JOB,
    VECTOR_INDEX,
    LLM_SERVICE,
)
