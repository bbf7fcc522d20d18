"""Tables and snippets that the demo prints.

What models and documents say is shown as `Text`: brackets in it are no markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from hearth_demo.questions import Answer, Question, score


def progress_line(progress: Mapping[str, Any]) -> str:
    """One line of training progress: step, loss, speed, time left. Empty before the first step."""
    if "step" not in progress:
        return ""
    facts = [f"step {progress['step']}/{progress.get('totalSteps', '?')}"]
    for key, text in (("loss", "loss {}"), ("tokensPerSecond", "{} tokens/s"), ("eta", "{} left")):
        if key in progress:
            facts.append(text.format(progress[key]))
    return ", ".join(facts)


def index(console: Console, obj: Mapping[str, Any]) -> None:
    """Documents, chunks, recall and what the engine can do."""
    status = obj["status"]
    recall = status.get("recall", {})
    table = Table("documents", "chunks", f"recall@{recall.get('k', '?')}", "engine can do", title="Index")
    table.add_row(
        str(status["documents"]),
        str(status["chunks"]),
        str(recall.get("measured", "-")),
        ", ".join(status.get("capabilities", [])),
    )
    console.print(table)


def evaluation(console: Console, obj: Mapping[str, Any]) -> None:
    """Base and tuned model side by side, as the FineTuneJob measured them on held-out rows."""
    rows = obj["status"]["evaluation"]
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    table = Table("metric", *subjects, title="Held-out rows")
    for metric in dict.fromkeys(row["metric"] for row in rows):
        found = {row["subject"]: str(row["value"]) for row in rows if row["metric"] == metric}
        table.add_row(metric, *(found.get(subject, "-") for subject in subjects))
    console.print(table)
    console.print(
        "      the JSON metrics look at the court records, ExactMatch and Loss at questions with passages too"
    )


def comparison(
    console: Console,
    asked: Sequence[Question],
    base: tuple[Sequence[Answer], str],
    tuned: tuple[Sequence[Answer], str],
    record: Mapping[str, Any],
) -> None:
    """Base against tuned: one court record side by side, the handbook's questions counted, two answers in full."""
    sides = Table("wanted", "base model", "tuned model", title="One court record", show_lines=True)
    sides.add_row(Text(record["messages"][-1]["content"]), Text(base[1]), Text(tuned[1]))
    console.print(Panel(Text(record["messages"][-2]["content"]), title="the record"))
    console.print(sides)
    _handbook_scores(console, asked, base[0], tuned[0])
    _two_answers(console, asked, tuned[0])


def _handbook_scores(
    console: Console, asked: Sequence[Question], base: Sequence[Answer], tuned: Sequence[Answer]
) -> None:
    table = Table("model", "answered right", "declined rightly", "retrieval hit", title="Handbook questions")
    for name, answers in (("base", base), ("tuned", tuned)):
        got = score(asked, answers)
        table.add_row(
            name,
            f"{got.answered} of {got.answerable}",
            f"{got.declined} of {got.unanswerable}",
            f"{got.hits} of {got.answerable}",
        )
    console.print(table)


def _two_answers(console: Console, asked: Sequence[Question], answers: Sequence[Answer]) -> None:
    pairs = list(zip(asked, answers, strict=True))
    answered = next((p for p in pairs if p[0].document and p[1].citations and not p[1].abstained), None)
    refused = next((p for p in pairs if p[0].document is None and p[1].abstained), None)
    if answered:
        console.print(Panel(_cited(answered[1]), title=Text(answered[0].text)))
    if refused:
        console.print(Panel(Text(refused[1].text), title=Text(refused[0].text)))


def _cited(answer: Answer) -> Text:
    lines = [answer.text, ""]
    for citation in answer.citations:
        score_text = f"{float(citation['score']):.2f}"
        lines.append(f"[{citation['number']}] {citation['document']}, {citation.get('heading', '')} ({score_text})")
    return Text("\n".join(lines))


def how_to_ask(console: Console, cluster: str, namespace: str, service: str, port: int) -> None:
    """A curl line, a Python snippet, and how to remove everything."""
    body = json.dumps({"model": service, "messages": [{"role": "user", "content": "How many days of leave do I get?"}]})
    shell = (
        f'eval "$(make -s cluster-env CLUSTER={cluster})"\n'
        f"kubectl --namespace {namespace} port-forward service/{service} {port} &\n"
        f"curl -s http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'"
    )
    python = (
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="http://127.0.0.1:{port}/v1", api_key="none")\n'
        f'reply = client.chat.completions.create(model="{service}", '
        'messages=[{"role": "user", "content": "How many days of leave do I get?"}])\n'
        "print(reply.choices[0].message.content)"
    )
    console.print("\nTry it:")
    console.print(Syntax(shell, "bash", word_wrap=True))
    console.print("\nOr from Python (pip install openai):")
    console.print(Syntax(python, "python", word_wrap=True))
    console.print(f"\nRemove it all: [bold]make demo-down CLUSTER={cluster}[/bold]")
