"""What is wrong with rows, counted."""

from __future__ import annotations

from typing import Any

SHOWN = 5
"""Places that are remembered and told of each check before the rest is only counted."""


class Findings:
    """What was counted, by check."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}
        self._details: dict[str, str] = {}

    def add(self, check: str, place: str, detail: str = "") -> None:
        """Counts one row; the first places and the detail of the first are kept."""
        self._counts[check] = self.count(check) + 1
        places = self._places.setdefault(check, [])
        if len(places) < SHOWN:
            places.append(place)
        if detail:
            self._details.setdefault(check, detail)

    def count(self, check: str) -> int:
        """Rows concerned."""
        return self._counts.get(check, 0)

    def told(self, check: str) -> str:
        """The first places, how many more there are, and what is wrong with the first."""
        places = self._places[check]
        rest = f" and {self.count(check) - len(places)} more" if self.count(check) > len(places) else ""
        detail = self._details.get(check)
        return f"{', '.join(places)}{rest}" + (f" (the first: {detail})" if detail else "")

    def as_json(self) -> list[dict[str, Any]]:
        """Counts and the first places."""
        return [{"check": c, "count": n, "lines": self._places[c]} for c, n in sorted(self._counts.items())]
