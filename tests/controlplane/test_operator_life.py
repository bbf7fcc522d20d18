"""The operator as a process against a real API server: silence at rest, death, failover, pause, foreign names."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hearth_cluster.cluster import Cluster
from operator_process import OperatorProcess, eventually, widget_operator
from widget import CRD, widget

COUNT = 12


class Fleet:
    """A namespace with Widgets, and the operators that a test starts."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.operators: list[OperatorProcess] = []

    def start(self, identity: str = "one", lease: str = "long") -> OperatorProcess:
        log = self.folder / f"{identity}.log"
        operator = widget_operator(self.cluster.kubeconfig, identity, self.namespace, log, lease)
        self.operators.append(operator)
        return operator

    def start_leader(self, identity: str = "one", lease: str = "long") -> OperatorProcess:
        operator = self.start(identity, lease)
        eventually(lambda: operator.is_leader() and operator.is_ready(), f"{identity} leads\n{operator.log_text()}")
        return operator

    def apply(self, *names: str, **spec: object) -> None:
        self.cluster.apply(*(widget(name, self.namespace, **spec) for name in names))

    def get(self, kind: str, name: str = "") -> dict:
        return self.cluster.get("-n", self.namespace, kind, *([name] if name else []))

    def condition(self, name: str, type_: str) -> dict:
        found = self.get("widget", name).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == type_), {})

    def await_ready(self, *names: str, seconds: float = 120.0) -> None:
        """Waits until the Widgets are Ready; a failure shows what the operators have said."""
        try:
            eventually(lambda: self.ready(*names), f"{', '.join(names)} are Ready", seconds)
        except AssertionError as error:
            said = "\n".join(operator.log_text()[-2000:] for operator in self.operators)
            raise AssertionError(f"{error}\n{said}") from None

    def ready(self, *names: str) -> bool:
        items = {w["metadata"]["name"]: w for w in self.get("widgets")["items"]}
        return all(
            any(
                c["type"] == "Ready" and c["status"] == "True" for c in items[n].get("status", {}).get("conditions", [])
            )
            for n in names
        )

    def versions(self) -> dict[str, str]:
        """resourceVersions of everything that the operator may write."""
        kinds = "widgets,configmaps,deployments,events.events.k8s.io"
        items = self.cluster.get("-n", self.namespace, kinds)["items"]
        return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in items}


@pytest.fixture
def fleet(control_plane: Cluster, cpu_nodes: list[str], namespace: str, tmp_path: Path) -> Iterator[Fleet]:
    control_plane.apply(CRD)
    control_plane.await_definitions(CRD["metadata"]["name"])
    fleet = Fleet(control_plane, namespace, tmp_path)
    yield fleet
    for operator in fleet.operators:
        operator.end()


NAMES = [f"w{n}" for n in range(COUNT)]


def test_each_resource_costs_its_children_and_two_status_writes_then_silence(fleet: Fleet) -> None:
    operator = fleet.start_leader()
    fleet.apply(*NAMES)
    fleet.await_ready(*NAMES)
    children, statuses = 2 * COUNT, 2 * COUNT
    eventually(lambda: operator.writes() == children + statuses, "children and two status writes each", 10)
    at_rest, versions = operator.writes(), fleet.versions()
    fleet.cluster.kubectl("annotate", "-n", fleet.namespace, "deployment", "w0-run", "somebody/was=here")
    passes = operator.metric("hearth_reconcile_seconds_count")
    eventually(lambda: operator.metric("hearth_reconcile_seconds_count") > passes, "the edit woke a pass")
    assert operator.writes() == at_rest
    changed = {name for name, version in fleet.versions().items() if versions.get(name) != version}
    assert changed == {"Deployment/w0-run"}, "by the test's own annotation"


def test_a_restart_writes_nothing(fleet: Fleet) -> None:
    first = fleet.start_leader("first")
    fleet.apply(*NAMES)
    fleet.await_ready(*NAMES)
    assert first.stop() == 0
    versions = fleet.versions()
    second = fleet.start_leader("second")
    eventually(lambda: second.metric("hearth_reconcile_seconds_count") >= COUNT, "every Widget was looked at")
    assert second.writes() == 0
    assert fleet.versions() == versions


def test_an_operator_killed_in_the_middle_of_its_work_is_continued_by_the_next(fleet: Fleet) -> None:
    first = fleet.start_leader("first", "short")
    fleet.apply(*NAMES)
    eventually(lambda: first.writes() >= COUNT // 2, "some writes are made")
    first.kill()
    fleet.start_leader("second", "short")
    fleet.await_ready(*NAMES)
    owners = {w["metadata"]["uid"] for w in fleet.get("widgets")["items"]}
    for kind in ("deployments", "configmaps"):
        made = [o for o in fleet.get(kind)["items"] if o["metadata"].get("ownerReferences")]
        assert len(made) == COUNT
        assert {o["metadata"]["ownerReferences"][0]["uid"] for o in made} == owners


def test_a_standby_takes_over_from_a_leader_that_dies(fleet: Fleet) -> None:
    first = fleet.start_leader("first", "short")
    standby = fleet.start("standby", "short")
    eventually(standby.is_ready, "the standby is ready")
    fleet.apply("before")
    fleet.await_ready("before")
    assert not standby.is_leader()
    assert standby.writes() == 0
    first.kill()
    eventually(standby.is_leader, "the standby leads", 15)
    fleet.apply("after")
    fleet.await_ready("after")


def test_a_leader_that_stops_hands_over_without_waiting_for_the_lease_to_run_out(fleet: Fleet) -> None:
    first = fleet.start_leader("first", "short")
    fleet.start("standby", "short")
    assert first.stop() == 0
    holder = fleet.get("lease", "hearth-operator")["spec"]["holderIdentity"]
    assert holder in ("", "standby")
    eventually(fleet.operators[1].is_leader, "the standby leads", 5)


def test_a_leader_whose_lease_is_taken_ends_at_once(fleet: Fleet) -> None:
    first = fleet.start_leader("first", "short")
    patch = {"spec": {"holderIdentity": "usurper"}}
    fleet.cluster.kubectl(
        "patch", "-n", fleet.namespace, "lease", "hearth-operator", "--type=merge", "-p", json.dumps(patch)
    )
    assert first.exit_status(15) == 1
    assert "lost the lease" in first.log_text() or "no longer the leader" in first.log_text()


def test_a_paused_resource_is_left_alone_until_it_is_resumed(fleet: Fleet) -> None:
    fleet.start_leader()
    fleet.apply("w")
    fleet.await_ready("w")
    fleet.cluster.kubectl("annotate", "-n", fleet.namespace, "widget", "w", "hearth.dev/reconcile=disabled")
    eventually(lambda: fleet.condition("w", "Paused").get("status") == "True", "the pause is told")
    fleet.cluster.kubectl("scale", "-n", fleet.namespace, "deployment", "w-run", "--replicas=3")
    fleet.cluster.kubectl("delete", "-n", fleet.namespace, "configmap", "w-text")
    fleet.apply("other")
    fleet.await_ready("other")
    assert fleet.get("deployment", "w-run")["spec"]["replicas"] == 3
    fleet.cluster.kubectl("annotate", "-n", fleet.namespace, "widget", "w", "hearth.dev/reconcile-")
    eventually(lambda: fleet.get("deployment", "w-run")["spec"]["replicas"] == 1, "the edit is put right")
    eventually(lambda: fleet.condition("w", "Paused") == {}, "the pause is over")
    assert fleet.get("configmap", "w-text")["data"] == {"hello": "yes"}


def test_a_name_that_is_taken_is_told_and_not_overwritten(fleet: Fleet) -> None:
    fleet.cluster.kubectl("create", "-n", fleet.namespace, "configmap", "w-text", "--from-literal=mine=yes")
    before = fleet.get("configmap", "w-text")
    fleet.start_leader()
    fleet.apply("w")
    eventually(lambda: fleet.condition("w", "Stalled").get("reason") == "NameTaken", "the taken name is told")
    assert "ConfigMap w-text exists already" in fleet.condition("w", "Stalled")["message"]
    assert fleet.get("configmap", "w-text") == before
    fleet.cluster.kubectl("delete", "-n", fleet.namespace, "configmap", "w-text")
    fleet.await_ready("w", seconds=60)


def test_a_resource_that_is_made_again_at_once_is_served_once_the_garbage_collector_has_come(fleet: Fleet) -> None:
    fleet.start_leader()
    fleet.apply("w")
    fleet.await_ready("w")
    former = fleet.get("widget", "w")["metadata"]["uid"]
    fleet.cluster.kubectl("delete", "-n", fleet.namespace, "widget", "w")
    fleet.apply("w")
    fleet.await_ready("w")
    owner = fleet.get("widget", "w")["metadata"]["uid"]
    assert owner != former
    for kind, name in (("configmap", "w-text"), ("deployment", "w-run")):
        assert [o["uid"] for o in fleet.get(kind, name)["metadata"]["ownerReferences"]] == [owner]
    told = fleet.get("events.events.k8s.io")["items"]
    assert [e["reason"] for e in told if e["regarding"]["kind"] == "Widget"] == []


def test_a_config_map_that_was_missing_lets_the_resource_go_on_when_it_appears(fleet: Fleet) -> None:
    operator = fleet.start_leader()
    fleet.apply("w", configFrom="data")
    eventually(lambda: fleet.condition("w", "Ready").get("reason") == "Waiting", "the wait is told")
    reads = operator.metric("hearth_api_requests_total", verb="get", resource="configmaps")
    fleet.cluster.kubectl("create", "-n", fleet.namespace, "configmap", "data", "--from-literal=a=b")
    fleet.await_ready("w", seconds=20)
    assert operator.metric("hearth_api_requests_total", verb="get", resource="configmaps") <= reads + 1
    events = fleet.get("events.events.k8s.io")["items"]
    (told,) = [e for e in events if e["regarding"]["kind"] == "Widget"]
    assert (told["reason"], told["type"]) == ("Waiting", "Warning")


def test_a_deleted_child_and_an_edited_one_are_put_right(fleet: Fleet) -> None:
    fleet.start_leader()
    fleet.apply("w")
    fleet.await_ready("w")
    uid = fleet.get("configmap", "w-text")["metadata"]["uid"]
    fleet.cluster.kubectl("delete", "-n", fleet.namespace, "configmap", "w-text")
    fleet.cluster.kubectl("scale", "-n", fleet.namespace, "deployment", "w-run", "--replicas=4")
    fleet.cluster.kubectl("label", "-n", fleet.namespace, "deployment", "w-run", "app.kubernetes.io/managed-by-")

    def is_right() -> bool:
        texts = {o["metadata"]["name"]: o["metadata"]["uid"] for o in fleet.get("configmaps")["items"]}
        deployment = fleet.get("deployment", "w-run")
        is_labelled = deployment["metadata"]["labels"].get("app.kubernetes.io/managed-by") == "hearth"
        return texts.get("w-text") not in (None, uid) and deployment["spec"]["replicas"] == 1 and is_labelled

    eventually(is_right, "both are as wanted")


def test_a_child_that_lost_its_owner_is_taken_back(fleet: Fleet) -> None:
    fleet.start_leader()
    fleet.apply("w")
    eventually(lambda: fleet.ready("w"), "the Widget is Ready")
    owned = fleet.get("configmap", "w-text")["metadata"]["ownerReferences"]
    strip = '[{"op": "remove", "path": "/metadata/ownerReferences"}]'
    fleet.cluster.kubectl("patch", "-n", fleet.namespace, "configmap", "w-text", "--type=json", "-p", strip)
    eventually(lambda: fleet.get("configmap", "w-text")["metadata"].get("ownerReferences") == owned, "it is owned")


def test_nothing_of_ours_is_written_on_the_users_object(fleet: Fleet) -> None:
    fleet.start_leader()
    fleet.apply("w")
    fleet.await_ready("w")
    meta = fleet.cluster.get("-n", fleet.namespace, "widget", "w", "--show-managed-fields")["metadata"]
    assert not {"annotations", "labels", "finalizers"} & meta.keys()
    ours = [f for f in meta["managedFields"] if f["manager"] != "kubectl"]
    assert [(f["manager"], f.get("subresource"), f["operation"]) for f in ours] == [
        ("hearth/status", "status", "Apply")
    ]


def test_without_the_definitions_the_operator_says_what_to_install(fleet: Fleet) -> None:
    fleet.cluster.kubectl("delete", "crd", CRD["metadata"]["name"])
    operator = fleet.start()
    assert operator.exit_status(60) == 1
    assert "kubectl apply --server-side -f crds/" in operator.log_text()
    assert operator.writes() == 0
