"""Who is woken by what, and what a plan gets to see."""

from hearth.api.base import Json
from hearth.kube.cache import WatchCache, node_facts
from hearth.plan.world import ObjectKey
from widget import KIND_PLAN, SETTINGS, widget, widget_key

LABELS = {"app.kubernetes.io/managed-by": "hearth", "hearth.dev/kind": "Widget", "hearth.dev/name": "w"}


class Woken(list[tuple[str, bool]]):
    def __call__(self, key: ObjectKey, spec_is_new: bool) -> None:
        self.append((key.name, spec_is_new))

    def take(self) -> set[str]:
        names = {name for name, _ in self}
        self.clear()
        return names


class Cluster:
    """A cache with a counter for resourceVersions."""

    def __init__(self) -> None:
        self.woken = Woken()
        self.cache = WatchCache([KIND_PLAN], SETTINGS, self.woken)
        self.version = 0

    def see(self, kind: str, name: str, owner: str = "", labels: Json | None = None, **fields: object) -> ObjectKey:
        self.version += 1
        meta: Json = {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(self.version)}
        if owner:
            meta["ownerReferences"] = [{"uid": f"uid-{owner}", "controller": True, "kind": "X", "name": owner}]
        if labels:
            meta["labels"] = labels
        obj = {"apiVersion": "v1", "kind": kind, "metadata": meta, **fields}
        self.cache.put(obj)
        return ObjectKey(kind, "default", name)

    def see_widget(self, name: str, status: Json | None = None, **spec: object) -> ObjectKey:
        obj = widget(name, **spec)
        return self.see("Widget", name, spec=obj["spec"], status=status or {})


def test_a_pod_wakes_the_owner_of_its_job_and_is_part_of_its_world() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.see("Job", "w-train", owner="w")
    c.woken.take()
    c.see("Pod", "w-train-x", owner="w-train")
    assert c.woken.take() == {"w"}
    world = c.cache.observe(key)
    assert world is not None
    assert [p["metadata"]["name"] for p in world.pods] == ["w-train-x"]
    assert [o["metadata"]["name"] for o in world.children] == ["w-train"]


def test_pods_of_a_deployment_are_found_through_their_replica_set() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.see("Deployment", "w-run", owner="w")
    c.see("ReplicaSet", "w-run-1", owner="w-run")
    c.see("Pod", "w-run-1-x", owner="w-run-1")
    assert c.woken.take() == {"w"}
    world = c.cache.observe(key)
    assert world is not None
    assert [p["metadata"]["name"] for p in world.pods] == ["w-run-1-x"]
    assert [r["metadata"]["name"] for r in world.replica_sets] == ["w-run-1"]
    assert [c["metadata"]["name"] for c in world.children] == ["w-run"]


def test_a_pod_seen_before_its_replica_set_wakes_the_owner_named_in_its_labels() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.woken.take()
    c.see("Pod", "w-run-1-x", owner="w-run-1", labels=LABELS)
    assert c.woken.take() == {"w"}
    world = c.cache.observe(key)
    assert world is not None
    assert world.pods == (), "labels wake, but only a chain of controllers makes it ours"


def test_an_object_with_our_labels_but_another_controller_is_not_a_child() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.see("ConfigMap", "forged", owner="somebody", labels=LABELS)
    world = c.cache.observe(key)
    assert world is not None
    assert world.children == ()


def test_an_unchanged_object_wakes_nobody() -> None:
    c = Cluster()
    c.see_widget("w")
    c.woken.take()
    c.see_widget("w")
    assert c.woken.take() == set()


def test_a_new_spec_is_urgent_and_a_new_status_is_not() -> None:
    c = Cluster()
    c.version += 1
    obj = widget("w") | {"status": {"observedGeneration": 1}}
    meta = obj["metadata"] | {"uid": "u", "generation": 2, "resourceVersion": "1"}
    c.cache.put(obj | {"metadata": meta})
    assert c.woken[-1] == ("w", True)
    c.cache.put(obj | {"metadata": meta | {"resourceVersion": "2"}, "status": {"observedGeneration": 2}})
    assert c.woken[-1] == ("w", False)


def test_resources_that_refer_to_each_other_wake_each_other() -> None:
    c = Cluster()
    tune = c.see_widget("tune")
    c.see_widget("serve", partner="tune")
    assert c.woken.take() == {"tune", "serve"}
    c.see_widget("tune", status={"phase": "Done"})
    assert c.woken.take() == {"tune", "serve"}
    world = c.cache.observe(tune)
    assert world is not None
    assert [d["metadata"]["name"] for d in world.dependents] == ["serve"]


def test_whoever_stops_referring_leaves_the_dependents() -> None:
    c = Cluster()
    tune = c.see_widget("tune")
    c.see_widget("serve", partner="tune")
    c.woken.take()
    c.see_widget("serve")
    assert "tune" in c.woken.take()
    world = c.cache.observe(tune)
    assert world is not None
    assert world.dependents == ()


def test_deleting_a_resource_wakes_those_it_referred_to_and_those_that_referred_to_it() -> None:
    c = Cluster()
    c.see_widget("base")
    middle = c.see_widget("middle", partner="base")
    c.see_widget("top", partner="middle")
    c.woken.take()
    c.cache.remove(middle, "uid-middle")
    assert c.woken.take() >= {"base", "top"}


def test_a_node_that_changes_wakes_those_that_wait_and_a_heartbeat_wakes_nobody() -> None:
    c = Cluster()
    c.see_widget("waiting", status={"pending": {"reason": "NoNode"}})
    c.see_widget("does-not-fit", status={"failure": {"class": "DoesNotFit"}})
    c.see_widget("ended", status={"failure": {"class": "BadData"}, "completionTime": "2026-11-24T12:00:00Z"})
    c.see_widget("content")
    beat = {"type": "Ready", "status": "True", "lastHeartbeatTime": "1"}
    c.woken.take()
    c.see("Node", "n", status={"conditions": [beat], "allocatable": {"nvidia.com/gpu": "1"}})
    assert c.woken.take() == {"waiting", "does-not-fit"}
    c.see(
        "Node", "n", status={"conditions": [beat | {"lastHeartbeatTime": "2"}], "allocatable": {"nvidia.com/gpu": "1"}}
    )
    assert c.woken.take() == set()
    c.see("Node", "n", status={"conditions": [beat], "allocatable": {"nvidia.com/gpu": "2"}})
    assert c.woken.take() == {"waiting", "does-not-fit"}


def test_a_storage_class_that_comes_changes_or_goes_wakes_everybody_and_is_in_every_world() -> None:
    c = Cluster()
    one = c.see_widget("one")
    c.see_widget("two")
    c.woken.take()
    seen = c.see("StorageClass", "fast", provisioner="csi.example")
    assert c.woken.take() == {"one", "two"}
    world = c.cache.observe(one)
    assert world is not None
    assert [k["provisioner"] for k in world.storage_classes] == ["csi.example"]
    (known,) = c.cache.known("StorageClass", "")
    assert (known.key, known.uid) == (seen, "uid-fast")

    c.version -= 1
    c.see("StorageClass", "fast", provisioner="csi.example")
    assert c.woken.take() == set(), "a watch may repeat itself"
    c.see("StorageClass", "fast", provisioner="csi.example", allowVolumeExpansion=True)
    assert c.woken.take() == {"one", "two"}
    c.cache.remove(seen)
    assert c.woken.take() == {"one", "two"}
    world = c.cache.observe(one)
    assert world is not None
    assert world.storage_classes == ()


def test_node_facts_leave_out_heartbeats_images_and_annotations() -> None:
    node = {
        "metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"x": "y"}},
        "spec": {"taints": [{"key": "k"}], "podCIDR": "10.0.0.0/24"},
        "status": {"images": [1], "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "t"}]},
    }
    facts = node_facts(node)
    assert facts["metadata"]["labels"] == {"a": "b"}
    assert facts["spec"] == {"taints": [{"key": "k"}]}
    assert facts["status"] == {"allocatable": {}, "conditions": [{"type": "Ready", "status": "True"}]}


def test_our_own_write_does_not_bring_back_what_the_watch_saw_deleted() -> None:
    c = Cluster()
    c.see_widget("w")
    written = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default", "uid": "u"}}
    written["metadata"]["resourceVersion"] = "10"
    c.cache.put(written)
    c.cache.remove(ObjectKey("ConfigMap", "default", "x"), "u")
    c.cache.put_own(written)
    assert ObjectKey("ConfigMap", "default", "x") not in c.cache.store


def test_the_answers_to_two_of_our_writes_may_come_in_either_order() -> None:
    c = Cluster()
    c.see_widget("w")
    for name, version in (("second", "11"), ("first", "10")):
        meta = {"name": name, "namespace": "default", "uid": name, "resourceVersion": version}
        c.cache.put_own({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    assert ObjectKey("ConfigMap", "default", "first") in c.cache.store


def test_progress_is_part_of_the_world_until_the_owner_is_gone() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.cache.set_progress(key, {"percentage": 5})
    world = c.cache.observe(key)
    assert world is not None
    assert world.progress == {"percentage": 5}
    c.cache.remove(key)
    c.see_widget("w")
    again = c.cache.observe(widget_key("w"))
    assert again is not None
    assert again.progress is None


def test_progress_of_a_former_owner_of_that_name_is_not_shown_though_no_watch_told_of_its_end() -> None:
    c = Cluster()
    key = c.see_widget("w")
    c.cache.set_progress(key, {"percentage": 90})
    c.see_widget("w", status={"phase": "Running"})
    world = c.cache.observe(key)
    assert world is not None
    assert world.progress == {"percentage": 90}
    c.version += 1
    meta = {"name": "w", "namespace": "default", "uid": "uid-next", "resourceVersion": str(c.version)}
    c.cache.put({**widget("w"), "metadata": meta})
    world = c.cache.observe(key)
    assert world is not None
    assert world.progress is None
