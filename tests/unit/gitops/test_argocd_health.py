"""What Argo CD shows for each state of a resource, by the Lua that the documentation offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lupa
import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "gitops" / "argocd"
SCRIPTS = sorted(FOLDER.glob("*.lua"))
every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


def health(script: Path, resource: dict[str, Any]) -> tuple[str, str]:
    """Runs the script as Argo CD does: the object in the global `obj`, the table it returns as the answer."""
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(resource, recursive=True)
    answer = lua.execute(script.read_text())
    return answer.status, answer.message


def resource(ready: str, reconciling: str, stalled: str, reason: str = "Testing", **status: Any) -> dict[str, Any]:
    conditions = [
        {"type": kind, "status": value, "reason": reason, "message": f"the message of {kind}"}
        for kind, value in (("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled))
    ]
    return {"metadata": {"generation": 3}, "status": {"observedGeneration": 3, "conditions": conditions, **status}}


@every_script
@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"metadata": {"generation": 1}}, ("Progressing", "waiting for the operator")),
        (
            {"metadata": {"generation": 1}, "status": {"observedGeneration": -1}},
            ("Progressing", "waiting for the operator"),
        ),
        (
            {"metadata": {"generation": 1}, "status": {"observedGeneration": 1}},
            ("Progressing", "waiting for the operator"),
        ),
        (resource("False", "True", "False"), ("Progressing", "the message of Reconciling")),
        (resource("True", "False", "False"), ("Healthy", "the message of Ready")),
        (resource("True", "False", "False", "ScaledToZero"), ("Healthy", "the message of Ready")),
        (resource("False", "False", "False", "Suspended"), ("Suspended", "the message of Ready")),
        (resource("False", "False", "True"), ("Degraded", "the message of Stalled")),
        (resource("True", "False", "True", "RolledBack"), ("Degraded", "the message of Stalled")),
    ],
    ids=["new", "unseen", "no-conditions", "working", "ready", "scaled-to-zero", "suspended", "stalled", "rolled-back"],
)
def test_each_state_has_its_health(script: Path, found: dict[str, Any], expected: tuple[str, str]) -> None:
    assert health(script, found) == expected


@every_script
def test_an_old_status_is_not_taken_for_the_new_generation(script: Path) -> None:
    changed = resource("True", "False", "False")
    changed["metadata"]["generation"] = 4
    assert health(script, changed)[0] == "Progressing"


def test_a_training_shows_its_step() -> None:
    training = resource("False", "True", "False", progress={"step": 40, "totalSteps": 120})
    assert health(FOLDER / "finetunejob.lua", training) == ("Progressing", "step 40 of 120")


@pytest.mark.parametrize("kind", ["VectorIndex", "LLMService"])
def test_what_serves_while_it_changes_is_progressing(kind: str) -> None:
    assert health(FOLDER / f"{kind.lower()}.lua", resource("True", "True", "False"))[0] == "Progressing"


def test_the_component_names_every_script_under_the_key_that_argo_cd_reads() -> None:
    component = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    files = dict(entry.split("=") for entry in component["configMapGenerator"][0]["files"])
    kinds = {"finetunejob.lua": "FineTuneJob", "vectorindex.lua": "VectorIndex", "llmservice.lua": "LLMService"}
    assert files == {f"resource.customizations.health.hearth.dev_{kind}": name for name, kind in kinds.items()}
    assert set(files.values()) == {path.name for path in SCRIPTS}
