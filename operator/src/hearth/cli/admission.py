"""What the API server would refuse of a resource, told without writing it. Pure.

A dry run on the server would not do: whoever may only read has no right to it, and a field that the file no longer has
stays in an apply by another manager than the one that set it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hearth.api.base import ApiModel, Json, Rule
from hearth.api.cel import holds
from hearth.api.crd_generate import NAME_RULE
from hearth.api.crd_kind import CustomKind
from hearth.plan.validation import Invalid, parse


def refusals(kind: CustomKind, wanted: Json, live: Json | None) -> list[str]:
    """Why the API server would not take the resource in place of the live one, if any; empty where it would.

    An object that stays as it is would be taken, whatever rule it breaks: it may be older than the rule.
    """
    if live is not None and live.get("spec") == wanted["spec"]:
        return []
    spec = parse(kind.spec, wanted["spec"])
    if isinstance(spec, Invalid):
        return [spec.message]
    scope = {"self": {**wanted, "spec": _stored(spec)}}
    if live is None:
        return list(_broken([r for r in (NAME_RULE, *kind.root_rules) if not r.is_transition], scope, ""))
    before = parse(kind.spec, live["spec"])
    old = live["spec"] if isinstance(before, Invalid) else _stored(before)
    scope["oldSelf"] = {**live, "spec": old}
    return [*_broken((NAME_RULE, *kind.root_rules), scope, ""), *_broken_transitions(spec, old, "spec")]


def _broken_transitions(new: ApiModel, old: Json, path: str) -> Iterator[str]:
    """The messages of the transition rules of a spec and of the objects in it. Items of lists have none."""
    yield from _broken([r for r in new.cel_rules if r.is_transition], {"self": _stored(new), "oldSelf": old}, path)
    for name, field in type(new).model_fields.items():
        alias = field.alias or name
        value, before = getattr(new, name), old.get(alias)
        if isinstance(value, ApiModel) and isinstance(before, dict):
            yield from _broken_transitions(value, before, f"{path}.{alias}")


def _broken(rules: Iterable[Rule], scope: Json, path: str) -> Iterator[str]:
    for rule in rules:
        if not holds(rule.rule, scope):
            yield f"{path}{rule.field_path or ''}: {rule.message}".lstrip(".")


def _stored(model: ApiModel) -> Json:
    """As the API server stores it, with its defaults."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
