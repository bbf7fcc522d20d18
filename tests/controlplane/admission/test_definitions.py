"""The committed definitions as a real API server takes them."""

from __future__ import annotations

from typing import Any

import pytest
from hearth.api.crd_kind import CustomKind
from hearth.api.kinds import KINDS

pytestmark = pytest.mark.controlplane
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


@every_kind
def test_the_definition_is_structural_and_its_rules_are_cheap_enough(admission: Any, kind: CustomKind) -> None:
    crd = admission.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.crd_name}").body
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


@every_kind
def test_a_resource_of_a_few_lines_is_enough(admission: Any, smallest: Any, kind: CustomKind) -> None:
    answer = admission.dry_create(kind.kind, smallest[kind.kind])
    assert answer.accepted, answer.message


@every_kind
def test_a_new_resource_does_not_look_finished(admission: Any, smallest: Any, kind: CustomKind) -> None:
    # kstatus takes an object without observedGeneration for current; -1 is never the generation.
    assert admission.dry_create(kind.kind, smallest[kind.kind]).body["status"] == {"observedGeneration": -1}


@every_kind
def test_what_was_left_unset_stays_unset(admission: Any, smallest: Any, kind: CustomKind) -> None:
    def constants(model: Any) -> set[str]:
        return {f.alias for f in model.model_fields.values() if not f.is_required() and f.default is not None}

    spec = admission.dry_create(kind.kind, smallest[kind.kind]).body["spec"]
    assert set(spec) == set(smallest[kind.kind]) | constants(kind.spec)


@every_kind
def test_kubectl_explains_every_field_of_the_spec(admission: Any, kind: CustomKind) -> None:
    text = admission.kubectl("explain", f"{kind.plural}.spec")
    assert kind.kind in text
    for field in kind.spec.model_fields.values():
        assert f"  {field.alias}\t" in text
    assert " ".join((kind.spec.__doc__ or "").split())[:40] in " ".join(text.split())


@every_kind
def test_kubectl_finds_the_kind_by_its_short_name_and_category(admission: Any, kind: CustomKind) -> None:
    resources = admission.kubectl("api-resources", "--api-group=hearth.dev", "--categories=hearth", "--no-headers")
    line = next(line for line in resources.splitlines() if line.startswith(f"{kind.plural} "))
    assert line.split() == [kind.plural, ",".join(kind.short_names), "hearth.dev/v1alpha1", "true", kind.kind]


def test_a_service_is_scaled_by_the_scale_subresource(admission: Any, smallest: Any, stored: Any) -> None:
    name = stored("LLMService", smallest["LLMService"], {"replicas": 1, "selector": "hearth.dev/name=x"})
    admission.kubectl("scale", "llmservice", name, "--replicas=3")
    scale = admission.get(f"/apis/hearth.dev/v1alpha1/namespaces/default/llmservices/{name}/scale").body
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 1, "selector": "hearth.dev/name=x"}
