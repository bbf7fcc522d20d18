"""Answering from a VectorIndex."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Decimal, Rule
from hearth.api.shapes import LocalObjectReference


class Fusion(ApiModel):
    """How the results of dense and keyword search become one list: reciprocal rank fusion."""

    k: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """The constant of RRF: a passage scores 1 / (k + rank) in each list. Unset: 60 (Cormack et al. 2009)."""


class Abstain(ApiModel):
    """When to say that the documents do not hold the answer."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.minSimilarity) || (double(self.minSimilarity) >= 0.0 && double(self.minSimilarity) <= 1.0)",
            'minSimilarity must lie between "0" and "1"',
        ),
    )

    min_similarity: Decimal | None = None
    """Cosine similarity of the best passage below which no answer is attempted. Unset: always attempted."""
    message: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """What is said then. Unset: a sentence that the documents do not hold the answer."""


class Rag(ApiModel):
    """Retrieval-augmented generation: passages of an index are put before the model, which answers from them."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.topK) || !has(self.candidates) || self.candidates >= self.topK", "candidates must reach topK"),
        Rule(
            "!has(self.promptTemplate) || (self.promptTemplate.contains('{passages}') "
            "&& self.promptTemplate.contains('{question}'))",
            "promptTemplate must hold {passages} and {question}",
        ),
        Rule(
            "!has(self.fusion) || !has(self.retrieval) || self.retrieval == 'Hybrid'", "fusion needs Hybrid retrieval"
        ),
    )

    index_ref: LocalObjectReference
    """The VectorIndex to answer from."""
    retrieval: Literal["Dense", "Hybrid"] | None = None
    """Dense compares meanings; Hybrid adds keyword search (BM25). Unset: Hybrid where the index can do it."""
    top_k: Annotated[int, Field(ge=1, le=50)] | None = None
    """Passages put before the model. Unset: 5."""
    candidates: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Passages fetched by each search before they are fused. Unset: 40, and at least topK."""
    max_context_tokens: Annotated[int, Field(ge=64, le=1_000_000)] | None = None
    """Room for passages, in tokens; further passages are left out. Unset: half of the model's longest request."""
    prompt_template: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] | None = None
    """User message with {passages} and {question}. Unset: numbered passages, then the question."""
    citations: bool | None = None
    """Whether the passages' documents and scores come with the answer. Unset: they do."""
    abstain: Abstain | None = None
    """When to say that the documents do not hold the answer."""
    fusion: Fusion | None = None
    """How Hybrid results become one list."""
