"""Whether a tuned model may be published as good."""

from __future__ import annotations

from collections.abc import Mapping

from hearth_trainer.config import GateConfig
from hearth_trainer.metrics import HIGHER_IS_BETTER


def judge(gate: GateConfig, scores: Mapping[str, Mapping[str, float]]) -> tuple[bool, str]:
    """Whether the gate is met, and the figures behind it. `scores` is by subject, then by metric."""
    reached = scores.get("tuned", {}).get(gate.metric)
    if reached is None:
        return False, f"{gate.metric} could not be measured: no held-out row has a target that it applies to"
    failures, facts = [], []
    if gate.at_least is not None:
        facts.append(f"{gate.metric} {reached:.4f} is at least {gate.at_least:g}")
        if reached < gate.at_least:
            failures.append(f"{gate.metric} {reached:.4f} is below {gate.at_least:g}")
    for rival in gate.beats:
        other = scores.get(rival, {}).get(gate.metric)
        if other is None:
            failures.append(f"{gate.metric} of {rival} could not be measured")
            continue
        better = reached > other if HIGHER_IS_BETTER[gate.metric] else reached < other
        facts.append(f"{gate.metric} {reached:.4f} beats {rival}'s {other:.4f}")
        if not better:
            failures.append(f"{gate.metric} {reached:.4f} is no better than {rival}'s {other:.4f}")
    return not failures, "; ".join(failures or facts)
