"""The base of every API model and the markers that the CRD generator reads."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from hearth.api.field_docs import field_docs

GROUP = "hearth.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

Json = dict[str, Any]
"""A Kubernetes object, or a part of one, as decoded JSON."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One `x-kubernetes-validations` entry (CEL), enforced by the API server and again by `hearth.plan`.

    A rule that mentions `oldSelf` is a transition rule; put those on the parent of the field they guard, because a rule
    on the field itself is bypassed by dropping the field and adding it again.
    """

    rule: str
    message: str
    field_path: str | None = None
    message_expression: str | None = None
    optional_old_self: bool = False

    @property
    def is_transition(self) -> bool:
        """Whether the rule compares with what was there before."""
        return re.search(r"\boldSelf\b", self.rule) is not None

    def as_json(self) -> Json:
        """The entry of `x-kubernetes-validations`."""
        return {to_camel(key): value for key, value in asdict(self).items() if value}


class SchemaMarker(ABC):
    """Metadata of an annotated type that adds `x-kubernetes-` keys to its schema."""

    __slots__ = ()

    @abstractmethod
    def schema_keys(self) -> Mapping[str, Any]:
        """The schema keys that the marker stands for."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """Called by pydantic while it builds a JSON schema."""
        return {**handler(core), **self.schema_keys()}


@dataclass(frozen=True, slots=True)
class ListMap(SchemaMarker):
    """Marks a list as `x-kubernetes-list-type: map` with these keys, so that server-side apply merges by key."""

    keys: tuple[str, ...] = ("name",)

    def schema_keys(self) -> Mapping[str, Any]:
        """The list type and its keys."""
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}


@dataclass(frozen=True, slots=True)
class ListSet(SchemaMarker):
    """Marks a list of scalars as `x-kubernetes-list-type: set`."""

    def schema_keys(self) -> Mapping[str, Any]:
        """The list type."""
        return {"x-kubernetes-list-type": "set"}


@dataclass(frozen=True, slots=True)
class IntOrString(SchemaMarker):
    """Marks a string field as `x-kubernetes-int-or-string`: a Quantity may be written as a bare number."""

    def schema_keys(self) -> Mapping[str, Any]:
        """The marker that replaces the type."""
        return {"x-kubernetes-int-or-string": True}


@dataclass(frozen=True, slots=True)
class PreserveUnknown(SchemaMarker):
    """Marks an object field as `x-kubernetes-preserve-unknown-fields` (free-form engine arguments and the like)."""

    def schema_keys(self) -> Mapping[str, Any]:
        """The marker that keeps what the schema does not name."""
        return {"x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True, slots=True)
class Written(SchemaMarker):
    """Says how a string is written: a regular expression (RE2 and Python alike) with words for whom it does not match.

    A plain `pattern` would answer with the expression itself. This becomes a rule with a message; put it last in the
    annotation, after the bounds.
    """

    pattern: str
    """Anchored at both ends. For RE2 too, unless there is a `rule`."""
    message: str
    """What is expected, with an example."""
    rule: str | None = None
    """CEL in place of the pattern, where the API server estimates matching as too expensive, or RE2 cannot say it."""

    def schema_keys(self) -> Mapping[str, Any]:
        """The rule on the string."""
        rule = self.rule or f"self.matches({_cel_text(self.pattern)})"
        return {"x-kubernetes-validations": [Rule(rule, self.message).as_json()]}

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Called by pydantic while it builds the validator."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: str) -> str:
        if re.fullmatch(self.pattern, value) is None:
            raise PydanticCustomError("written", "{words}", {"words": self.message})
        return value


def _cel_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class ApiModel(BaseModel):
    """Immutable, camelCase on the wire, unknown fields refused. Attribute docstrings become schema descriptions."""

    model_config = ConfigDict(
        # The operator starts faster: most models are never read by the process that imports them.
        defer_build=True,
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
    )

    cel_rules: ClassVar[tuple[Rule, ...]] = ()
    """Rules about this object. A subclass that adds rules names its base's too: `(*Base.cel_rules, Rule(…))`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """Adds the CEL rules to the object that declares them, and the docstrings of its fields."""
        schema = handler(core)
        resolved = handler.resolve_ref_schema(schema)
        docs = field_docs(cls, ApiModel)
        for name, field in cls.model_fields.items():
            if name in docs:
                resolved["properties"][field.alias or name]["description"] = docs[name]
        if cls.cel_rules:
            resolved["x-kubernetes-validations"] = [r.as_json() for r in cls.cel_rules]
        return schema


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    Written(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "a name has lower case letters, digits and '-', and begins and ends with a letter or digit",
    ),
]
"""A DNS-1123 label."""

Decimal = Annotated[
    str,
    StringConstraints(min_length=1, max_length=12),
    Written(r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$", 'write a decimal number in quotes, such as "0.05" or "2e-4"'),
]
"""A decimal number, written as a quoted string because Kubernetes APIs have no floats: "0.05", "2e-4"."""


QUANTITY = (
    r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
    r"(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][-+]?[0-9]+)?$"
)
"""What k8s.io/apimachinery's resource.ParseQuantity reads, without a minus sign."""


def _bare_integer(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    StringConstraints(min_length=1, max_length=20),
    Written(
        QUANTITY,
        "write a quantity such as 20Gi, 24G, 500m or 2 (suffixes m k M G T P E and Ki Mi Gi Ti Pi Ei)",
        "isQuantity(string(self)) && !string(self).startsWith('-')",
    ),
    BeforeValidator(_bare_integer),
    IntOrString(),
]
"""A Kubernetes quantity such as `20Gi`, `500m` or `24G`."""

_LENGTH = r"([0-9]{1,4}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
_SOME = "[1-9]"
Duration = Annotated[
    str,
    StringConstraints(min_length=2, max_length=16),
    Written(
        f"^(?=.*{_SOME}){_LENGTH}",
        "write a duration such as 90s, 5m, 1h30m or 7d: whole numbers of days, hours, minutes and seconds, in this "
        "order; more than nothing; days with at most 4 digits, the others with at most 6",
        f"self.matches('^{_LENGTH}') && self.matches('{_SOME}')",
    ),
]
"""A length of time such as `90s`, `5m`, `24h` or `1h30m`: more than nothing, and less than the 292 years that Go's
time.Duration holds (grace periods and timeouts become one in the kubelet and in clients)."""

Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A point in time as in RFC 3339, UTC."""


def decimal(value: str) -> float:
    """The number that a `Decimal` stands for."""
    return float(value)


def seconds(duration: str) -> int:
    """The whole seconds of a `Duration`."""
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    total, digits = 0, ""
    for char in duration:
        if char.isdigit():
            digits += char
        else:
            total += int(digits) * units[char]
            digits = ""
    return total


def quantity(value: str) -> float:
    """The number that a `Quantity` stands for, in its base unit (bytes, cores).

    Suffixes as in k8s.io/apimachinery/pkg/api/resource: decimal k to E, binary Ki to Ei, and m, u, n for parts.
    """
    binary = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
    decimals = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
    for suffix, factor in binary.items():
        if value.endswith(suffix):
            return float(value.removesuffix(suffix)) * factor
    for suffix, power in decimals.items():
        if value.endswith(suffix):
            return float(value.removesuffix(suffix)) * power
    return float(value)
