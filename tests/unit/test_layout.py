"""The repository's own rules that no other tool checks."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    # `operator/__init__.py` on sys.path would replace the standard library's `operator` module.
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_test_that_the_proof_names_is_there() -> None:
    rows = [line for line in (ROOT / "docs" / "proof.md").read_text().splitlines() if line.startswith("|")]
    missing = [path for row in rows for path in _tests_of(row) if not (ROOT / "tests" / path).exists()]
    assert missing == []


def _tests_of(row: str) -> list[str]:
    """The tests in the second column. A bare file name lies in the folder of the one before."""
    folder, found = "", []
    for written in re.findall(r"`([^`]+)`", row.split("|")[2]):
        name = written.removeprefix("tests/")
        folder = name.rpartition("/")[0] if "/" in name else folder
        found.append(name if "/" in name or not name.endswith(".py") else f"{folder}/{name}")
    return found
