"""The recording proxy of the control-plane tests counts requests in the words of RBAC."""

import pytest
from recording_proxy import Recording, Use


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "rights"),
    [
        ("GET", "/api/v1/pods", "limit=500", 200, {("", "pods", "list")}),
        ("GET", "/api/v1/namespaces/a/pods", "watch=true", 200, {("", "pods", "watch")}),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/x", "", 200, {("apps", "deployments", "get")}),
        ("PATCH", "/apis/batch/v1/namespaces/a/jobs/x", "force=true", 200, {("batch", "jobs", "patch")}),
        (
            "PATCH",
            "/apis/batch/v1/namespaces/a/jobs/x",
            "force=true",
            201,
            {("batch", "jobs", "patch"), ("batch", "jobs", "create")},
        ),
        (
            "PATCH",
            "/apis/hearth.dev/v1alpha1/namespaces/a/llmservices/x/status",
            "",
            200,
            {("hearth.dev", "llmservices/status", "patch")},
        ),
        ("DELETE", "/api/v1/namespaces/a/services/x", "", 200, {("", "services", "delete")}),
        ("DELETE", "/api/v1/namespaces/a/services", "", 200, {("", "services", "deletecollection")}),
        ("GET", "/apis/hearth.dev/v1alpha1", "", 200, set()),
        ("GET", "/version", "", 200, set()),
    ],
)
def test_a_request_needs_a_right(
    method: str, path: str, query: str, status: int, rights: set[tuple[str, str, str]]
) -> None:
    record = Recording()
    record.note(method, path, query, status)
    assert record.uses == {Use(*right) for right in rights}


def test_a_refused_request_is_no_use_of_a_right() -> None:
    record = Recording()
    record.note("GET", "/api/v1/namespaces/a/secrets/x", "", 403)
    assert record.uses == set()
    assert record.forbidden == {"GET /api/v1/namespaces/a/secrets/x"}
