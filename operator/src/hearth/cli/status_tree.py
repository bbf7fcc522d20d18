"""One Hearth resource as a tree that people read: facts, progress, conditions and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from hearth.api.base import Json

MARKS = {"True": ("✓", "green"), "False": ("✗", "red"), "Unknown": ("?", "yellow")}
QUIET_WHEN_FALSE = {"Reconciling", "Stalled", "Degraded"}
"""Abnormal-true conditions: worth a line only while they are True."""
STYLES = {"Serving": "green", "Succeeded": "green", "Failed": "red", "Stalled": "red"}
"""Colours of the phases that last; what is under way is yellow."""
BAR_WIDTH = 32
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def tree(resource: Json) -> Tree:
    """The tree of one FineTuneJob, VectorIndex or LLMService."""
    status = resource.get("status", {})
    root = Tree(_title(resource, status))
    for branch in _FACTS.get(resource["kind"], _no_facts)(status):
        root.add(branch)
    for line in _conditions(status):
        root.add(line)
    failure = status.get("failure")
    if failure and failure.get("suggestion"):
        root.add(Text(f"next: {failure['suggestion']}", style="bold"))
    return root


def size(amount: float) -> str:
    """A number of bytes as people read it: `1.5 GiB`."""
    for unit in UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {UNITS[-1]}"


def _title(resource: Json, status: Json) -> Text:
    meta = resource["metadata"]
    phase = status.get("phase", "Pending")
    style = STYLES.get(phase, "yellow")
    name = f"{meta.get('namespace', 'default')}/{meta['name']}"
    return Text.assemble((resource["kind"], "bold"), " ", name, "  ", (phase, style))


def _conditions(status: Json) -> Iterable[Text]:
    for condition in status.get("conditions", []):
        if condition["status"] == "False" and condition["type"] in QUIET_WHEN_FALSE:
            continue
        mark, style = MARKS[condition["status"]]
        if condition["type"] in QUIET_WHEN_FALSE:
            mark, style = "!", "yellow"
        line = Text.assemble((mark, style), f" {condition['type']} ", (condition["reason"], style))
        if condition.get("message"):
            line.append(f": {condition['message']}")
        yield line


def _no_facts(_status: Json) -> Iterable[RenderableType]:
    return ()


def _fine_tune_job(status: Json) -> Iterable[RenderableType]:
    progress = status.get("progress", {})
    if progress.get("totalSteps"):
        yield _bar("training", progress.get("step", 0), progress["totalSteps"], _training_facts(progress))
    if status.get("evaluation"):
        yield _evaluation(status["evaluation"])
    for artifact in status.get("artifacts", []):
        yield Text(f"{artifact['kind']}: {artifact['uri']} ({size(artifact.get('size', 0))})")


def _training_facts(progress: Json) -> str:
    facts = [f"{label} {progress[key]}" for key, label in (("loss", "loss"), ("eta", "left")) if key in progress]
    if "tokensPerSecond" in progress:
        facts.append(f"{progress['tokensPerSecond']} tokens/s")
    return ", ".join(facts)


def _evaluation(rows: list[Json]) -> Table:
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    table = Table("metric", *subjects, box=None, pad_edge=False)
    for metric in dict.fromkeys(row["metric"] for row in rows):
        values = {row["subject"]: str(row["value"]) for row in rows if row["metric"] == metric}
        table.add_row(metric, *(values.get(subject, "") for subject in subjects))
    return table


def _vector_index(status: Json) -> Iterable[RenderableType]:
    builds = status.get("builds", {})
    if "documents" in status:
        yield Text(f"{status['documents']} documents, {status.get('chunks', 0)} chunks in {builds.get('active', '-')}")
    recall = status.get("recall", {})
    if "measured" in recall:
        yield Text(f"recall@{recall.get('k', '?')} {recall['measured']} (target {recall.get('target', '-')})")
    if status.get("capabilities"):
        yield Text(f"can do {', '.join(status['capabilities'])}")
    progress = status.get("progress", {})
    if progress.get("chunks"):
        yield _bar("embedding", progress.get("embedded", 0), progress["chunks"], "")


def _llm_service(status: Json) -> Iterable[RenderableType]:
    if status.get("url"):
        yield Text(f"url {status['url']}")
    if status.get("model"):
        yield Text(f"model {status['model'].get('uri', '')} {status['model'].get('digest', '')[:19]}".rstrip())
    if "replicas" in status:
        yield Text(f"{status.get('readyReplicas', 0)} of {status['replicas']} replicas ready")
    items = status.get("memory", {}).get("items", [])
    if items:
        table = Table("memory", "planned", box=None, pad_edge=False)
        for item in items:
            table.add_row(item["name"], size(item["bytes"]))
        yield table


def _bar(label: str, done: int, total: int, facts: str) -> Group:
    bar = ProgressBar(total=total, completed=done, width=BAR_WIDTH)
    percent = 100 * done // total
    return Group(Text(f"{label} {done}/{total} ({percent} %)" + (f", {facts}" if facts else "")), bar)


_FACTS: dict[str, Callable[[Json], Iterable[RenderableType]]] = {
    "FineTuneJob": _fine_tune_job,
    "VectorIndex": _vector_index,
    "LLMService": _llm_service,
}
