"""What the demo prints: the words of models, documents and Kubernetes as they are, brackets and all."""

from __future__ import annotations

import io

import pytest
from hearth_demo import __main__ as command
from hearth_demo import show
from hearth_demo.questions import Answer, Question
from hearth_demo.steps import StepError, Steps
from rich.console import Console
from typer.testing import CliRunner

SAID = "[/INST] [a: 1, b: 2] [red]x"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_models_and_documents_say_is_shown_as_it_is(console: Console) -> None:
    citation = {"number": 1, "document": SAID, "heading": SAID, "score": "0.5"}
    asked = [Question(SAID, "right", "a.md"), Question(SAID, "", None)]
    answers = [Answer(SAID, False, (citation,), ("a.md",)), Answer(SAID, True, (), ())]
    record = {"messages": [{"content": SAID}, {"content": SAID}]}
    show.comparison(console, asked, (answers, SAID), (answers, SAID), record)
    text = printed(console)
    # The record and three sides; question, answer and the citation's two; question and answer again.
    assert text.count(SAID) == 10
    assert f"[1] {SAID}, {SAID} (0.50)" in text


def test_what_was_waited_for_is_told_as_it_was_seen(console: Console) -> None:
    Steps(console, total=1).wait("index", lambda: (True, SAID), timeout_seconds=1)
    assert f"index: {SAID}" in printed(console)


def test_the_reason_that_the_demo_stopped_for_is_told_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "kubectl apply: it is invalid: [spec.model: Required value, spec.foo: Invalid value]"

    def stop(name: str, console: Console) -> None:
        raise StepError(reason)

    monkeypatch.setattr(command, "run", stop)
    done = CliRunner().invoke(command.app, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert f"The demo stopped: {reason}" in done.output
