"""The base model's answers are kept in the cluster, and only for what they were answers to."""

from __future__ import annotations

import json
from pathlib import Path

from hearth_demo import kept
from hearth_demo.kubectl import Kubectl
from hearth_demo.questions import Answer

INTERVIEW = ([Answer("12 days [1]", False, ({"number": 1, "document": "leave.md"},), ("leave.md",))], "{}")


def stand_in(folder: Path) -> Kubectl:
    """A kubectl that holds one ConfigMap."""
    program, store = folder / "kubectl", folder / "store"
    script = f"""#!/bin/sh
case "$3" in
apply) cat > {store} ;;
get) cat {store} 2>/dev/null || true ;;
esac
"""
    program.write_text(script)
    program.chmod(0o755)
    return Kubectl(program, folder / "kubeconfig", "demo")


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    kubectl = stand_in(tmp_path)
    kept.keep(kubectl, "a", INTERVIEW)
    assert kept.recall(kubectl, "a") == INTERVIEW


def test_answers_to_other_files_do_not_count(tmp_path: Path) -> None:
    kubectl = stand_in(tmp_path)
    assert kept.recall(kubectl, "a") is None
    kept.keep(kubectl, "a", INTERVIEW)
    assert kept.recall(kubectl, "b") is None


def test_the_digest_sees_names_and_contents(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("x")
    two.write_text("x")
    digests = {kept.digest([one]), kept.digest([two]), kept.digest([one, two])}
    one.write_text(json.dumps("y"))
    assert len(digests | {kept.digest([one])}) == 4
