"""What the demo does with the three resources, and what it measures on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hearth_demo import kept, questions, show
from hearth_demo.endpoint import chat
from hearth_demo.install import ROOT
from hearth_demo.kept import Interview
from hearth_demo.kubectl import Kubectl, condition
from hearth_demo.questions import Question
from hearth_demo.steps import StepError, Steps

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
DATA = ROOT / "examples" / "assistant-data"
HANDBOOK = ROOT / "examples" / "handbook"
SERVICE = "assistant"
PORT = 8000
STALLED_SECONDS = 60.0


def tell(steps: Steps, kubectl: Kubectl) -> None:
    """Index, serve the base model, fine-tune, roll over, compare.

    Raises StepError where a resource stalls or does not get ready in time.
    """
    asked = questions.read_questions(HANDBOOK / "qa.jsonl")
    record = _held_out_record()
    files = kept.digest(
        [HANDBOOK / "qa.jsonl", DATA / "eval.jsonl", *_files(RESOURCES), *_files(HANDBOOK / "documents")]
    )
    base = kept.recall(kubectl, files) if kubectl.get("llmservice", SERVICE) else None
    with steps.step("The handbook becomes an index, and the base model an endpoint"):
        _upload(kubectl)
        kubectl.apply(RESOURCES / "10-embedder.yaml")
        kubectl.apply(RESOURCES / "20-handbook.yaml")
        if base is None:
            kubectl.apply(RESOURCES / "30-assistant-base.yaml")
        steps.wait("index", ready(kubectl, "vectorindex", "handbook"), timeout_seconds=1200)
        steps.wait("endpoint", ready(kubectl, "llmservice", SERVICE), timeout_seconds=1200)
        show.index(steps.console, kubectl.get("vectorindex", "handbook"))
    with steps.step("The base model answers: handbook questions and one court record"):
        # Meanwhile rows are checked, a volume is made and libraries are loaded: mostly waiting, on one core at most.
        # Not earlier: on a small machine training and the engines' start would slow each other down.
        kubectl.apply(RESOURCES / "40-fine-tune.yaml")
        if base is None:
            base = _interview(steps.console, kubectl, asked, record)
            kept.keep(kubectl, files, base)
        else:
            steps.console.print("      its answers were kept from an earlier run")
    with steps.step("The base model is fine-tuned and measured on rows it has not seen"):
        steps.wait("training", trained(kubectl), timeout_seconds=3600)
        show.evaluation(steps.console, kubectl.get("finetunejob", SERVICE))
    with steps.step("The endpoint rolls over to the tuned model, and answers again"):
        kubectl.apply(RESOURCES / "50-assistant-tuned.yaml")
        steps.wait("rollout", ready(kubectl, "llmservice", SERVICE), timeout_seconds=1200)
        tuned = _interview(steps.console, kubectl, asked, record)
        show.comparison(steps.console, asked, base, tuned, record)


def ready(
    kubectl: Kubectl, kind: str, name: str, progress: Callable[[dict[str, Any]], str] = lambda _: ""
) -> Callable[[], tuple[bool, str]]:
    """Looks whether the resource's present generation is Ready. On the way there, `progress` of its status is the text.

    The returned function raises StepError once the resource has been stalled for a minute: a pod that fails and is
    started again counts as stalled for a moment.
    """
    stalled_since: float | None = None

    def look() -> tuple[bool, str]:
        nonlocal stalled_since
        obj = kubectl.get(kind, name)
        if not obj:
            return False, "not there yet"
        if condition(obj, "Stalled")[0] != "True":
            stalled_since = None
        elif stalled_since is None:
            stalled_since = time.monotonic()
        elif time.monotonic() - stalled_since > STALLED_SECONDS:
            _, why, text = condition(obj, "Stalled")
            raise StepError(f"{kind} {name} is stalled: {why}: {text}")
        status, reason, message = condition(obj, "Ready")
        done = status == "True"
        return done, (not done and progress(obj.get("status", {}))) or f"{reason} {message}".strip()

    return look


def trained(kubectl: Kubectl) -> Callable[[], tuple[bool, str]]:
    """Looks whether the fine-tuning is done; its progress is the text."""
    return ready(kubectl, "finetunejob", SERVICE, lambda status: show.progress_line(status.get("progress", {})))


def _upload(kubectl: Kubectl) -> None:
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kubectl.namespace}}))
    kubectl.apply_config_map("handbook", _files(HANDBOOK / "documents"))
    kubectl.apply_config_map("assistant-data", [DATA / "train.jsonl", DATA / "eval.jsonl"])


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _held_out_record() -> dict[str, Any]:
    rows = [json.loads(line) for line in (DATA / "eval.jsonl").read_text(encoding="utf-8").splitlines()]
    record: dict[str, Any] = next(row for row in rows if row["messages"][-1]["content"].startswith("{"))
    return record


def _interview(console: Console, kubectl: Kubectl, asked: list[Question], record: dict[str, Any]) -> Interview:
    with kubectl.forward(SERVICE, PORT) as url:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("      asking the handbook's questions", total=len(asked))
            answers = questions.ask_all(url, SERVICE, asked, lambda: progress.advance(task))
        return answers, _extract(url, record)


def _extract(url: str, record: dict[str, Any]) -> str:
    """The court record's JSON, asked for without retrieval."""
    body = {"model": SERVICE, "messages": record["messages"][:-1], "hearth": {"rag": False}}
    text: str = chat(url, body)["choices"][0]["message"]["content"]
    return text


def tell_how_to_go_on(console: Console, name: str, kubectl: Kubectl) -> None:
    """What is running, how to talk to it and how to remove it."""
    running = Table("kind", "name", "ready", title="Running now", title_justify="left")
    for kind in ("llmservice", "vectorindex", "finetunejob"):
        for obj in json.loads(kubectl.run("get", kind, "-o", "json"))["items"]:
            running.add_row(obj["kind"], obj["metadata"]["name"], " ".join(condition(obj, "Ready")[:2]))
    console.print(running)
    show.how_to_ask(console, name, kubectl.namespace, SERVICE, PORT)
