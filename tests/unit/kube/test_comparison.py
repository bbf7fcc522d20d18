"""When a live object already is what is desired."""

from typing import Any

import pytest
from hearth.kube.comparison import difference

SAME: list[tuple[str, Any, Any]] = [
    ("defaults of the server are none of our business", {"a": 1}, {"a": 1, "b": 2}),
    ("quantities are compared as numbers", {"cpu": "0.5", "memory": "1024Mi"}, {"cpu": "500m", "memory": "1Gi"}),
    ("a number may come back as a string", {"cpu": 1}, {"cpu": "1"}),
    ("the server leaves out what is empty", {"a": {}, "b": [], "c": "", "d": False, "e": 0}, {}),
    ("containers are matched by name", {"containers": [{"name": "b"}]}, {"containers": [{"name": "a"}, {"name": "b"}]}),
    (
        "mounts are matched by path",
        {"volumeMounts": [{"mountPath": "/b"}]},
        {"volumeMounts": [{"mountPath": "/b", "x": 1}]},
    ),
    ("ports of a Service by port", {"ports": [{"port": 80}]}, {"ports": [{"port": 80, "targetPort": 80}]}),
    ("items of an atomic list may have defaults", {"rules": [{"a": 1}]}, {"rules": [{"a": 1, "b": 2}]}),
    ("scalars of a list in order", {"args": ["a", "b"]}, {"args": ["a", "b"]}),
]

DIFFERENT: list[tuple[str, Any, Any, str]] = [
    ("a leaf", {"spec": {"replicas": 2}}, {"spec": {"replicas": 3}}, ".spec.replicas"),
    ("a leaf that is missing", {"a": "x"}, {}, ".a"),
    ("true is not one", {"a": True}, {"a": 1}, ".a"),
    (
        "a flag that means true where it is left out",
        {"spec": {"automountServiceAccountToken": False}},
        {"spec": {}},
        ".spec.automountServiceAccountToken",
    ),
    (
        "another one, in a container",
        {"containers": [{"name": "a", "securityContext": {"allowPrivilegeEscalation": False}}]},
        {"containers": [{"name": "a", "securityContext": {}}]},
        ".containers[a].securityContext.allowPrivilegeEscalation",
    ),
    ("a flag that somebody switched on", {"a": False}, {"a": True}, ".a"),
    ("a quantity", {"cpu": "1"}, {"cpu": "1500m"}, ".cpu"),
    ("an argument added by hand", {"args": ["a"]}, {"args": ["a", "b"]}, ".args"),
    ("the order of arguments", {"args": ["a", "b"]}, {"args": ["b", "a"]}, ".args[0]"),
    ("a container that is missing", {"containers": [{"name": "a", "x": 1}]}, {"containers": []}, ".containers[a]"),
    (
        "a variable of a container",
        {"containers": [{"name": "a", "env": [{"name": "E", "value": "1"}]}]},
        {"containers": [{"name": "a", "env": [{"name": "E", "value": "2"}]}]},
        ".containers[a].env[E].value",
    ),
    (
        "an extra item of an atomic list",
        {"tolerations": [{"key": "a"}]},
        {"tolerations": [{"key": "a"}, {}]},
        ".tolerations",
    ),
]


@pytest.mark.parametrize(("desired", "live"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_it_is_as_desired(desired: Any, live: Any) -> None:
    assert difference(desired, live) is None


@pytest.mark.parametrize(
    ("desired", "live", "path"), [case[1:] for case in DIFFERENT], ids=[case[0] for case in DIFFERENT]
)
def test_the_first_difference_is_named(desired: Any, live: Any, path: str) -> None:
    assert difference(desired, live) == path
