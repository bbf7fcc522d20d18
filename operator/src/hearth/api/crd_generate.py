"""CustomResourceDefinitions from kinds, as objects and as the files that are committed."""

from __future__ import annotations

from typing import Any

import yaml

from hearth.api.base import GROUP, VERSION, Json, Rule
from hearth.api.crd_kind import Column, CustomKind
from hearth.api.crd_schema import structural_schema

NAME_RULE = Rule(
    "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "the name becomes part of Service names: at most 63 characters, lower case letters, digits and '-', "
    "a letter first, no '-' at the end",
    field_path=".metadata.name",
)
"""A custom resource's name may be a DNS subdomain; what is named after it has to be a DNS-1035 label."""

_MODELS = "operator/src/hearth/api"


def custom_resource_definition(kind: CustomKind) -> Json:
    """The CustomResourceDefinition of a kind."""
    names = {
        "kind": kind.kind,
        "listKind": f"{kind.kind}List",
        "plural": kind.plural,
        "singular": kind.singular,
        "shortNames": list(kind.short_names),
        "categories": ["hearth"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in _columns(kind)],
        "schema": {"openAPIV3Schema": _root_schema(kind)},
        "subresources": _subresources(kind),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _root_schema(kind: CustomKind) -> Json:
    status = structural_schema(kind.status)
    # On the leaf the default has no effect, because an absent status is never descended into.
    status["default"] = {"observedGeneration": -1}
    return {
        "type": "object",
        "description": " ".join(kind.description.split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"{kind.kind}."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": structural_schema(kind.spec),
            "status": status,
        },
        "x-kubernetes-validations": [rule.as_json() for rule in (NAME_RULE, *kind.root_rules)],
    }


def _columns(kind: CustomKind) -> list[Column]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        Column("Ready", f"{ready}.status"),
        Column("Reason", f"{ready}.reason"),
        *kind.columns,
        Column("Age", ".metadata.creationTimestamp", "date"),
    ]


def _column(column: Column) -> Json:
    out: Json = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    return {**out, "priority": 1} if column.wide else out


def _subresources(kind: CustomKind) -> Json:
    if kind.scale is None:
        return {"status": {}}
    scale = {
        "specReplicasPath": kind.scale.spec_replicas,
        "statusReplicasPath": kind.scale.status_replicas,
        "labelSelectorPath": kind.scale.label_selector,
    }
    return {"status": {}, "scale": scale}


class _Indented(yaml.SafeDumper):
    """Indents lists below their key, as kubectl and Helm users write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 (pyyaml's name)
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (pyyaml's name)
        return True


def to_yaml(obj: Json, source: str) -> str:
    """A file's text: stable key order, no anchors, a header that says where it came from."""
    header = f"# Generated from {source} by `make crds`. Do not edit.\n"
    return header + yaml.dump(obj, Dumper=_Indented, sort_keys=False, width=120, allow_unicode=True)


def crd_file(kind: CustomKind) -> str:
    """The text of `crds/<group>_<plural>.yaml`."""
    return to_yaml(custom_resource_definition(kind), _MODELS)


def chart_template(kind: CustomKind) -> str:
    """The same definition as a template of the chart hearth-crds.

    Helm never upgrades a chart's `crds/` folder, so it is a template; `keep` leaves it, and with it every resource and
    its data, behind when the chart is uninstalled.
    """
    crd = custom_resource_definition(kind)
    crd["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    text = to_yaml(crd, _MODELS)
    if "{{" in text:
        raise ValueError(f"{kind.kind}: a description contains {{{{, which Helm would read as a template")
    return text
