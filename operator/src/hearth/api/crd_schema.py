"""From a pydantic model to the structural OpenAPI v3 schema that a CustomResourceDefinition needs.

What `model_json_schema` gives is not structural: it has references, nulls, numeric exclusive bounds and `const`.
The rules are those of k8s.io/apiextensions-apiserver/pkg/apiserver/schema (validation.go "ValidateStructural").
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from hearth.api.base import Json

INT32_MAX = 2**31 - 1

_COPIED = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "default",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
)
_READ = {"$ref", "anyOf", "const", "exclusiveMinimum", "exclusiveMaximum", "items", "properties", "required", "title"}
_READ |= {"additionalProperties", "propertyNames", *_COPIED}


class SchemaError(ValueError):
    """A model says something that a structural schema, or this API's own conventions, cannot express."""


def structural_schema(model: type[BaseModel]) -> Json:
    """The structural schema of a model, with every reference inlined.

    Raises SchemaError, naming the field, for recursion, unions, required fields that may be null, keywords that have
    no structural form, and defaults inside list items (a GitOps tool would show those as drift).
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _Inliner(raw.get("$defs", {})).convert(raw, model.__name__, in_list=False)


class _Inliner:
    """Converts one schema tree; keeps the definitions and the references under way."""

    def __init__(self, definitions: Json) -> None:
        self._definitions = definitions
        self._open: list[str] = []

    def convert(self, raw: Json, path: str, *, in_list: bool) -> Json:
        opened = len(self._open)
        node = self._resolve(raw, path)
        if unknown := sorted(set(node) - _READ - {"$defs"}):
            raise SchemaError(f"{path}: no structural form for {', '.join(unknown)}")
        if in_list and node.get("default") is not None:
            raise SchemaError(f"{path}: a default inside list items shows as drift in GitOps tools; resolve it instead")
        out = {key: node[key] for key in _COPIED if key in node}
        _tidy(out, node)
        if "items" in node:
            out["items"] = self.convert(node["items"], f"{path}[]", in_list=True)
            out.setdefault("x-kubernetes-list-type", "atomic")
        if "properties" in node:
            self._properties(out, node, path, in_list=in_list)
        elif isinstance(values := node.get("additionalProperties"), dict):
            out["additionalProperties"] = self.convert(values, f"{path}{{}}", in_list=in_list)
        del self._open[opened:]
        return out

    def _properties(self, out: Json, node: Json, path: str, *, in_list: bool) -> None:
        required = node.get("required", [])
        for name in required:
            if _is_nullable(node["properties"][name]):
                raise SchemaError(f"{path}.{name}: required and nullable; give it the default None")
        out["properties"] = {
            name: self.convert(child, f"{path}.{name}", in_list=in_list) for name, child in node["properties"].items()
        }
        if required:
            out["required"] = sorted(required)

    def _resolve(self, raw: Json, path: str) -> Json:
        """Follows references and unwraps `X | None`; what stands beside them (a field's description) wins."""
        node = dict(raw)
        while "$ref" in node or "anyOf" in node:
            if "$ref" in node:
                name = node.pop("$ref").removeprefix("#/$defs/")
                if name in self._open:
                    raise SchemaError(f"{path}: {name} contains itself; structural schemas are finite")
                self._open.append(name)
                inner = self._definitions[name]
            else:
                choices = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
                if len(choices) != 1:
                    raise SchemaError(f"{path}: a union of {len(choices)} types; use one field per variant and a rule")
                inner = choices[0]
            node = {**inner, **node}
        return node


def _is_nullable(raw: Json) -> bool:
    return {"type": "null"} in raw.get("anyOf", [])


def _tidy(out: Json, node: Json) -> None:
    """The keywords whose spelling differs between JSON Schema and the structural form."""
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if "const" in node:
        out["enum"] = [node["const"]]
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in node:
            out[plain], out[bound] = node[bound], True
    if out.get("type") == "integer":
        out["format"] = "int32" if -INT32_MAX <= out.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    if out.get("x-kubernetes-int-or-string"):
        # The customary `anyOf` beside it adds nothing but a second and a third error to every wrong value.
        del out["type"]
    if "default" in out:
        out["default"] = _without_nulls(out["default"])
        if out["default"] is None:
            del out["default"]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value
