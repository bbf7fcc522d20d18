"""The base model's answers, kept in the cluster: a second run need not take the tuned model out of service for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hearth_demo.kubectl import Kubectl
from hearth_demo.questions import Answer

CONFIG_MAP = "demo-base-answers"
Interview = tuple[list[Answer], str]
"""Answers to the handbook's questions, and what was read out of the court record."""


def digest(files: Iterable[Path]) -> str:
    """Of what was asked, and of what: answers to other files are not the answers to these."""
    found = hashlib.sha256()
    for path in files:
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def keep(kubectl: Kubectl, of: str, interview: Interview) -> None:
    """Writes the interview into a ConfigMap."""
    answers, extract = interview
    data = {"of": of, "answers": json.dumps([asdict(answer) for answer in answers]), "extract": extract}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": data}
    kubectl.apply(json.dumps(body))


def recall(kubectl: Kubectl, of: str) -> Interview | None:
    """The interview kept before; None where there is none, or where it was about other files."""
    data = kubectl.get("configmap", CONFIG_MAP).get("data", {})
    if data.get("of") != of:
        return None
    return _answers(json.loads(data["answers"])), data["extract"]


def _answers(rows: Sequence[dict[str, Any]]) -> list[Answer]:
    return [Answer(row["text"], row["abstained"], tuple(row["citations"]), tuple(row["retrieved"])) for row in rows]
