"""The reference page of a kind, from the same schema that the API server has."""

from __future__ import annotations

from collections.abc import Iterator

from hearth.api.base import API_VERSION, Json
from hearth.api.crd_generate import custom_resource_definition
from hearth.api.crd_kind import CustomKind


def reference_page(kind: CustomKind) -> str:
    """Markdown: what the kind is for, every field of spec and status, and every rule between fields."""
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    columns = ", ".join(column["name"] for column in version["additionalPrinterColumns"])
    names = "`, `".join(kind.short_names)
    parts = [
        "<!-- Generated from operator/src/hearth/api by `make crds`. Do not edit. -->",
        f"# {kind.kind}",
        schema["description"],
        f"`apiVersion: {API_VERSION}`, `kind: {kind.kind}`, short name `{names}`, category `hearth`.",
        f"`kubectl get {kind.short_names[0]}` prints: {columns}.",
    ]
    for section, intro in (
        ("spec", "Unset means worked out by the operator; what it chose stands in `status.resolved`."),
        ("status", "Written by the operator alone."),
    ):
        parts += [f"## {section}", intro, _table(schema["properties"][section], section)]
    parts += ["## Rules", "Checked by the API server when the resource is written.", _rules(schema)]
    return "\n\n".join(parts) + "\n"


def _table(schema: Json, path: str) -> str:
    lines = ["| field | type | meaning |", "|---|---|---|"]
    lines += [
        f"| `{where}` | {_type(node)} | {_meaning(node, required)} |" for where, node, required in _rows(schema, path)
    ]
    return "\n".join(lines)


def _rows(schema: Json, path: str) -> Iterator[tuple[str, Json, bool]]:
    for name, node in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, node, name in schema.get("required", [])
        inner = node
        while "items" in inner or "additionalProperties" in inner:
            where += "[]" if "items" in inner else ".*"
            inner = inner.get("items") or inner["additionalProperties"]
        yield from _rows(inner, where)


def _type(node: Json) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{value}`" for value in node["enum"])
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in node:
        return f"list of {_type(node['items'])}"
    if "additionalProperties" in node:
        return f"map to {_type(node['additionalProperties'])}"
    return str(node.get("format", node["type"]) if node["type"] == "string" else node["type"])


def _meaning(node: Json, required: bool) -> str:
    facts = ["**required**"] if required else []
    if "default" in node and node["default"] != {}:
        facts.append(f"default `{node['default']}`".replace("True", "true").replace("False", "false"))
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        facts.append(f"{low} to {high}")
    facts += [f"at most {node[key]}" for key in ("maxItems", "maxProperties") if key in node]
    text = node.get("description", "").replace("|", "\\|")
    return f"{text} ({', '.join(facts)})" if facts else text


def _rules(schema: Json) -> str:
    lines = [f"- `{path or 'resource'}`: {message}" for path, message in _messages(schema, "")]
    return "\n".join(lines)


def _messages(node: Json, path: str) -> Iterator[tuple[str, str]]:
    for rule in node.get("x-kubernetes-validations", []):
        yield path + rule.get("fieldPath", ""), rule["message"]
    for name, child in node.get("properties", {}).items():
        yield from _messages(child, f"{path}.{name}".lstrip("."))
    for key, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if key in node:
            yield from _messages(node[key], path + mark)
