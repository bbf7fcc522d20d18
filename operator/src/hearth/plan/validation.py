"""A spec as stored, read again with the same rules as at admission.

A rule can be bypassed: by an older CRD, or by an object stored before the rule existed. Then the resource is Stalled
with the message that admission would have given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hearth.api.base import ApiModel, Json
from hearth.api.cel import holds

SpecT = TypeVar("SpecT", bound=ApiModel)

_SHOWN = 5
"""More complaints than this hide the first one."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """A spec that cannot be acted on, and why, one complaint per field, joined to one message."""

    message: str


def parse(model: type[SpecT], spec: Json, path: str = "spec") -> SpecT | Invalid:
    """The spec as a model, or what is wrong with it. Transition rules are not looked at: they need the old object."""
    return _parse(model, orjson.dumps(spec), path)


@lru_cache(maxsize=1024)
def _parse(model: type[SpecT], spec: bytes, path: str) -> SpecT | Invalid:
    # The rules take about a millisecond, and each pass over a resource reads its spec three or four times. Models are
    # frozen, so that one may be handed out again.
    try:
        # Strict JSON, as at admission: "5" is no integer and 1 is no boolean.
        parsed = model.model_validate_json(spec, strict=True)
    except ValidationError as error:
        return Invalid(_joined([_complaint(path, detail) for detail in error.errors(include_url=False)]))
    broken = list(broken_rules(parsed, path))
    return Invalid(_joined(broken)) if broken else parsed


def broken_rules(value: object, path: str) -> Iterator[str]:
    """The messages of the CEL rules that do not hold, depth first, each with the path of the object it is about."""
    if isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from broken_rules(item, f"{path}[{at}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from broken_rules(item, f"{path}.{key}")
    elif isinstance(value, ApiModel):
        scope = {"self": value.model_dump(mode="json", by_alias=True, exclude_none=True)}
        for rule in value.cel_rules:
            if not rule.is_transition and not holds(rule.rule, scope):
                yield f"{path}{rule.field_path or ''}: {rule.message}"
        for name, field in type(value).model_fields.items():
            yield from broken_rules(getattr(value, name), f"{path}.{field.alias or name}")


def _joined(complaints: list[str]) -> str:
    shown = complaints[:_SHOWN]
    if len(complaints) > _SHOWN:
        shown.append(f"and {len(complaints) - _SHOWN} more")
    return "; ".join(shown)


def _complaint(path: str, detail: ErrorDetails) -> str:
    where = path + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    return f"{where}: {_words(detail)}"


def _words(detail: ErrorDetails) -> str:
    """pydantic's complaint in the words of a YAML writer."""
    found: Any = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return "unknown field"
        case "missing":
            return "required"
        case "string_type" if isinstance(found, int | float):
            return f'write "{found}", quoted: Kubernetes APIs have no floating point numbers'
        case "written":
            return f"{json.dumps(found)[:80]}: {detail['msg']}"
        case "literal_error":
            return f"{json.dumps(found)} is not one of {detail['ctx']['expected'].replace(' or ', ', ')}"
        case _:
            return f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {json.dumps(found)[:80]}"
