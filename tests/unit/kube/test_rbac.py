"""The table of rights: complete for what the code applies, and as narrow as it can be."""

import pytest
from hearth.api.kinds import KINDS as DEFINED
from hearth.kube.rbac import RIGHTS, Scope, rules
from hearth.kube.resources import APPLIED, FOLLOWED
from hearth.runtime.kinds import KINDS


def allowed(scope: Scope, group: str, resource: str) -> set[str]:
    return {verb for r in RIGHTS if (r.scope, r.group, r.resource) == (scope, group, resource) for verb in r.verbs}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_watched_and_its_status_written_and_nothing_else_of_it(kind) -> None:  # noqa: ANN001
    assert allowed("watched", "hearth.dev", kind.plural) == {"list", "watch"}
    assert allowed("watched", "hearth.dev", f"{kind.plural}/status") == {"patch"}


def test_children_may_be_made_and_what_controllers_make_of_them_only_seen() -> None:
    for resource in APPLIED:
        assert allowed("watched", resource.group, resource.plural) >= {"get", "list", "watch", "create", "patch"}
    for resource in FOLLOWED:
        assert not allowed("watched", resource.group, resource.plural) & {"create", "patch", "delete", "update"}


def test_a_volume_cannot_be_deleted_by_the_operator() -> None:
    # What becomes of it is decided by ownership when its resource is deleted, never by a request of the operator's.
    assert "delete" not in allowed("watched", "", "persistentvolumeclaims")


def test_secrets_are_never_listed() -> None:
    for scope in ("watched", "own", "cluster"):
        assert not allowed(scope, "", "secrets") & {"list", "watch", "delete"}


def test_no_rule_is_a_wildcard() -> None:
    for scope in ("watched", "own", "cluster"):
        for rule in rules(scope):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_rights_on_named_objects_name_them() -> None:
    named = [rule for rule in rules("own") if "resourceNames" in rule]
    assert [rule["resourceNames"] for rule in named] == [["hearth-operator"], ["hearth-progress-tls"]]


def test_every_kind_that_is_defined_is_served() -> None:
    assert {kind.plural for kind in KINDS} == {kind.plural for kind in DEFINED}
