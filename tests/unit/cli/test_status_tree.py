"""What `hearth status` shows of one resource."""

import pytest
from hearth.api.base import Json
from hearth.cli.status_tree import size, tree
from rich.console import Console
from rich.text import Text


def shown(resource: Json) -> str:
    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(tree(resource))
    return capture.get()


def resource(kind: str, status: Json) -> Json:
    return {"kind": kind, "metadata": {"namespace": "court", "name": "extractor"}, "status": status}


def test_a_training_job_shows_its_step_loss_and_time_left() -> None:
    progress = {"step": 30, "totalSteps": 120, "loss": "0.41", "eta": "2m10s", "tokensPerSecond": "310"}
    text = shown(resource("FineTuneJob", {"phase": "Training", "progress": progress}))
    assert "training 30/120 (25 %), loss 0.41, left 2m10s, 310 tokens/s" in text


def test_base_and_tuned_stand_side_by_side() -> None:
    rows = [
        {"subject": "base", "metric": "ExactMatch", "value": "0.00"},
        {"subject": "tuned", "metric": "ExactMatch", "value": "0.91"},
    ]
    text = shown(resource("FineTuneJob", {"phase": "Succeeded", "evaluation": rows}))
    header, row = next((a, b) for a, b in zip(text.splitlines(), text.splitlines()[1:], strict=False) if "metric" in a)
    assert header.index("base") < header.index("tuned")
    assert row.index("0.00") < row.index("0.91")


def test_a_quiet_stalled_condition_is_not_shown_and_a_loud_one_is() -> None:
    stalled = {"type": "Stalled", "status": "True", "reason": "DoesNotFit", "message": "needs 18 GiB, has 16"}
    quiet = {"type": "Reconciling", "status": "False", "reason": "DoesNotFit", "message": ""}
    failure = {"suggestion": "set engine.maxModelLen to 4096"}
    text = shown(resource("LLMService", {"phase": "Stalled", "conditions": [stalled, quiet], "failure": failure}))
    assert "! Stalled DoesNotFit: needs 18 GiB, has 16" in text
    assert "Reconciling" not in text
    assert "next: set engine.maxModelLen to 4096" in text


def test_an_index_shows_its_recall_beside_the_target() -> None:
    status = {"documents": 42, "chunks": 310, "recall": {"k": 10, "measured": "0.98", "target": "0.95"}}
    text = shown(resource("VectorIndex", status))
    assert "42 documents, 310 chunks" in text
    assert "recall@10 0.98 (target 0.95)" in text


def test_a_service_shows_how_many_of_its_replicas_are_ready() -> None:
    assert "1 of 3 replicas ready" in shown(resource("LLMService", {"replicas": 3, "readyReplicas": 1}))


@pytest.mark.parametrize(("phase", "style"), [("Serving", "green"), ("Stalled", "red"), ("Progressing", "yellow")])
def test_a_phase_has_the_colour_of_what_it_means(phase: str, style: str) -> None:
    label = tree(resource("LLMService", {"phase": phase})).label
    assert isinstance(label, Text)
    assert label.spans[-1].style == style


def test_a_resource_nobody_has_looked_at_is_pending() -> None:
    assert "LLMService court/extractor  Pending" in shown(resource("LLMService", {}))


def test_sizes_are_told_in_binary_units() -> None:
    assert [size(n) for n in (12, 2048, 3 * 2**29)] == ["12 B", "2.0 KiB", "1.5 GiB"]
