"""Whether a live object already is what is desired, as far as the desire goes.

The server adds defaults and spells quantities its own way, so equality is asked leaf by leaf of the desired object:
what the live one has besides is none of our business, except in lists that are replaced as a whole.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from hearth.api.base import Json, quantity

MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
"""Lists that server-side apply merges by key (`x-kubernetes-list-type: map` in the OpenAPI of core, apps and batch).

`ports` is handled apart: its keys differ between containers and Services. Every other list is atomic.
"""

TRUE_WHEN_LEFT_OUT = frozenset({"automountServiceAccountToken", "allowPrivilegeEscalation"})
"""Flags that the server keeps when they are false and does not fill in: without them, the opposite holds."""

_QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")


def digest(obj: Json) -> str:
    """A short digest of a desired object, stable across processes."""
    return hashlib.sha256(_sorted_json(obj)).hexdigest()[:16]


def _sorted_json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def same_status(desired: Any, live: Any) -> bool:
    """Whether two statuses are equal, whatever the order of their lists: the server keeps an order of its own in lists
    that it merges by key, and no list of ours says anything by its order.
    """
    return bool(desired == live or _unordered(desired) == _unordered(live))


def _unordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unordered(item) for name, item in value.items()}
    if isinstance(value, list):
        return sorted((_unordered(item) for item in value), key=_sorted_json)
    return value


def difference(desired: Any, live: Any, name: str = "") -> str | None:
    """The path of the first leaf of `desired` that `live` lacks or has otherwise; None if there is none.

    `name` is the field that both are the value of: it decides how the items of a list find each other.
    """
    if isinstance(desired, dict) and isinstance(live, dict):
        for field, value in desired.items():
            if (where := difference(value, live.get(field), field)) is not None:
                return f".{field}{where}"
        return None
    if isinstance(desired, list) and isinstance(live, list):
        return _list_difference(desired, live, name)
    return None if _same_leaf(desired, live, name) else ""


def _list_difference(desired: list[Any], live: list[Any], name: str) -> str | None:
    keys = _keys_of(desired, name)
    if keys is None:
        return _item_difference(desired, live)
    by_key = {tuple(item.get(key) for key in keys): item for item in live}
    for want in desired:
        key = tuple(want.get(key) for key in keys)
        if (where := difference(want, by_key.get(key))) is not None:
            return f"[{','.join(str(part) for part in key)}]{where}"
    return None


def _item_difference(desired: list[Any], live: list[Any]) -> str | None:
    if len(desired) != len(live):
        return ""
    for at, (want, have) in enumerate(zip(desired, live, strict=True)):
        if (where := difference(want, have)) is not None:
            return f"[{at}]{where}"
    return None


def _keys_of(desired: list[Any], name: str) -> tuple[str, ...] | None:
    if not all(isinstance(item, dict) for item in desired):
        return None
    if name == "ports":
        return ("containerPort",) if any("containerPort" in item for item in desired) else ("port",)
    return MERGE_KEYS.get(name)


def _same_leaf(desired: Any, live: Any, name: str) -> bool:
    if desired == live and type(desired) is type(live):
        return True
    if live is None:
        # The server leaves out what is empty.
        return not desired and desired is not None and name not in TRUE_WHEN_LEFT_OUT
    return _same_quantity(desired, live)


def _same_quantity(desired: Any, live: Any) -> bool:
    texts = [str(value) for value in (desired, live) if not isinstance(value, bool | dict | list)]
    if len(texts) != 2 or not all(_QUANTITY.match(text) for text in texts):
        return False
    return quantity(texts[0]) == quantity(texts[1])
