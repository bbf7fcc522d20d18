"""Sampling parameters that a service sets for its callers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Decimal, ListSet, Rule, Written

FIELDS = ("temperature", "topP", "topK", "maxTokens", "stop", "seed")
SamplingField = Annotated[
    str,
    StringConstraints(min_length=1, max_length=16),
    Written(f"^({'|'.join(FIELDS)})$", f"only these can be locked: {', '.join(FIELDS)}"),
]
"""The name of one of this object's fields; field names keep their own spelling, so this is no enumeration."""


def _locked_needs_value(field: str) -> Rule:
    return Rule(
        f"!has(self.lock) || !self.lock.exists(f, f == '{field}') || has(self.{field})",
        f"lock names {field}, which has no value here: set sampling.{field}",
    )


class Sampling(ApiModel):
    """Defaults for requests that leave a parameter out; `lock` makes them binding."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.temperature) || (double(self.temperature) >= 0.0 && double(self.temperature) <= 2.0)",
            'temperature must lie between "0" and "2"',
        ),
        Rule(
            "!has(self.topP) || (double(self.topP) > 0.0 && double(self.topP) <= 1.0)",
            'topP must be above "0" and at most "1"',
        ),
        *(_locked_needs_value(field) for field in FIELDS),
    )

    temperature: Decimal | None = None
    """0 always takes the likeliest token; 2 is the wildest."""
    top_p: Decimal | None = None
    """Nucleus sampling: the likeliest tokens that together reach this probability."""
    top_k: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """The likeliest k tokens."""
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Longest answer in tokens."""
    stop: (
        Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=16)] | None
    ) = None
    """Texts that end the answer."""
    seed: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """Makes sampling repeatable."""
    lock: Annotated[list[SamplingField], Field(max_length=6), ListSet()] | None = None
    """Parameters that a caller may not change: a request with another value is refused with 400."""
