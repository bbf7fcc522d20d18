"""Passages that a search might have found."""

from hearth_gateway.passages import Passage


def passage(number: int, near: float | None = 0.5, text: str = "") -> Passage:
    text = text or f"Fact {number}."
    return Passage(f"id{number}", f"doc{number}.md", f"Title {number}", f"Part {number}", text, near or 0.0, near)
