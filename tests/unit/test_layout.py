"""The repository's own rules that no other tool checks."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_operator_folder_does_not_shadow_the_standard_library() -> None:
    # `operator/__init__.py` on sys.path would replace the standard library's `operator` module.
    assert not (ROOT / "operator" / "__init__.py").exists()
