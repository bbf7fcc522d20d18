"""Objects as sets of leaves, the way server-side apply sees them (structured-merge-diff, much simplified)."""

import itertools
from typing import Any

from hearth.kube.comparison import MERGE_KEYS

Part = str | tuple[Any, ...]
"""A field name, or the values of the keys of a list item."""
Path = tuple[Part, ...]


def flatten(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every leaf of a value with its path; an atomic list and an empty map are leaves."""
    if isinstance(value, dict) and value:
        return {p: leaf for name, item in value.items() for p, leaf in flatten(item, (*path, name)).items()}
    keys = _keys(value, path)
    if keys and value:
        return {
            p: leaf
            for item in value
            for p, leaf in flatten(item, (*path, tuple((key, item.get(key)) for key in keys))).items()
        }
    return {path: value}


def set_leaf(obj: Any, path: Path, value: Any) -> None:
    """Writes one leaf, making what leads to it."""
    for part, following in itertools.pairwise(path):
        obj = _step(obj, part, following)
    obj[path[-1]] = value


def remove_leaf(obj: Any, path: Path) -> None:
    """Removes one leaf, and what is empty without it."""
    part = path[0]
    if isinstance(part, tuple):
        item = next((i for i in obj if all(i.get(k) == v for k, v in part)), None)
        if item is None:
            return
        remove_leaf(item, path[1:])
        if not item:
            obj.remove(item)
    elif part in obj:
        if len(path) == 1:
            del obj[part]
            return
        remove_leaf(obj[part], path[1:])
        if not obj[part]:
            del obj[part]


def is_key(path: Path) -> bool:
    """Whether the leaf is a key of the list item that it belongs to."""
    return len(path) > 1 and isinstance(path[-2], tuple) and path[-1] in dict(path[-2])


def _step(obj: Any, part: Part, following: Part) -> Any:
    if isinstance(part, tuple):
        item = next((i for i in obj if all(i.get(k) == v for k, v in part)), None)
        if item is None:
            item = {key: value for key, value in part if value is not None}  # or its next leaf would not find it
            obj.append(item)
        return item
    empty: Any = [] if isinstance(following, tuple) else {}
    if not obj.get(part):
        obj[part] = empty
    return obj[part]


def _keys(value: Any, path: Path) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not path or not all(isinstance(item, dict) for item in value):
        return None
    name = path[-1]
    if name == "ports":
        return ("containerPort",) if any("containerPort" in item for item in value) else ("port",)
    return MERGE_KEYS.get(name) if isinstance(name, str) else None
