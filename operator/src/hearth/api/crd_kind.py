"""One custom resource kind as a value: what the CRD generator, the reference docs and the command line need to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hearth.api.base import GROUP, ApiModel, Rule
from hearth.api.status import StatusBase


@dataclass(frozen=True, slots=True)
class Column:
    """A fact that `kubectl get` prints between Reason and Age."""

    name: str
    json_path: str
    """Relative to the object, for example `.status.progress.step`."""
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False
    """Shown only with `-o wide`."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale subresource, for `kubectl scale`, HorizontalPodAutoscaler and PodDisruptionBudget."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    label_selector: str = ".status.selector"
    """A label selector in its string form: the autoscaler can read no other."""


@dataclass(frozen=True, slots=True)
class CustomKind:
    """A namespaced kind of group hearth.dev, served as v1alpha1."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    spec: type[ApiModel]
    status: type[StatusBase]
    description: str
    """One paragraph: what the resource is for. The first thing that `kubectl explain` prints."""
    columns: tuple[Column, ...] = ()
    scale: Scale | None = None
    root_rules: tuple[Rule, ...] = field(default=())
    """Rules that look at spec, status and oldSelf together.

    `oldSelf.status` is what was on record before the write, so "after the start" is `has(oldSelf.status.startTime)`.
    """

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()

    @property
    def crd_name(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.plural}.{GROUP}"
