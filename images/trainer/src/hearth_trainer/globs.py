"""Which files of a folder `include` and `exclude` choose: as in .gitignore, and as the indexer understands them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

_SPECIAL = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def chosen(path: str, include: Iterable[str], exclude: Iterable[str]) -> bool:
    """Whether a relative path is taken. `exclude` wins over `include`."""
    return any(matches(path, g) for g in include) and not any(matches(path, g) for g in exclude)


def matches(path: str, pattern: str) -> bool:
    """`*` stays within a folder, `**/` is any number of folders, none included; a bare name is sought at any depth."""
    if "/" not in pattern:
        return fnmatchcase(path.rpartition("/")[2], pattern)
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.lstrip("/"))
    return re.fullmatch("".join(_SPECIAL.get(p, re.escape(p)) for p in parts), path) is not None


def hub_patterns(include: Iterable[str]) -> list[str]:
    """Patterns for the hub's client, which knows only fnmatch. They let through at least what `include` chooses."""
    found: list[str] = []
    for pattern in include:
        if "/" not in pattern:
            found += [pattern, f"*/{pattern}"]
            continue
        literal = pattern.lstrip("/").replace("[", "[[]")
        found.append(re.sub(r"(?:\*\*)+/|\*+", "*", literal))
    return found
