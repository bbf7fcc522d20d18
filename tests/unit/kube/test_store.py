"""The compact store: what it remembers, forgets and ignores."""

import json
from collections.abc import Iterable

import pytest
from hearth.api.base import Json
from hearth.kube import store as store_module
from hearth.kube.codec import LONG
from hearth.kube.store import Change, ObjectStore
from hearth.plan.world import ObjectKey


def pod(name: str, version: int, uid: str = "u1", owner: str = "", **status: object) -> Json:
    meta: Json = {"name": name, "namespace": "ns", "uid": uid, "resourceVersion": str(version)}
    if owner:
        meta["ownerReferences"] = [{"kind": "Job", "name": "j", "uid": owner, "controller": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "status": status}


KEY = ObjectKey("Pod", "ns", "p")


def test_an_object_comes_back_as_it_went_in_but_for_managed_fields() -> None:
    store, obj = ObjectStore(), pod("p", 5, phase="Running")
    with_fields = {**obj, "metadata": {**obj["metadata"], "managedFields": [{"manager": "x"}]}}
    assert store.put(with_fields) is Change.ADDED
    assert store.get(KEY) == obj


def test_an_older_version_is_ignored() -> None:
    store = ObjectStore()
    store.put(pod("p", 5, phase="Running"))
    assert store.put(pod("p", 4, phase="Pending")) is Change.STALE
    assert store.objects([KEY])[0]["status"] == {"phase": "Running"}


def test_a_new_version_with_the_same_content_is_no_change() -> None:
    store = ObjectStore()
    store.put(pod("p", 5, phase="Running"))
    assert store.put(pod("p", 6, phase="Running")) is Change.UNCHANGED
    assert store.version(KEY) == 6


def test_the_same_version_again_is_no_change_and_stays_settled() -> None:
    store = ObjectStore()
    store.put(pod("p", 5, phase="Running"))
    store.settle(KEY, "desire")
    assert store.put(pod("p", 5, phase="Running")) is Change.UNCHANGED
    assert store.is_settled(KEY, "desire")


def test_a_new_object_of_an_old_name_is_an_addition() -> None:
    store = ObjectStore()
    store.put(pod("p", 5, uid="old", owner="job"))
    assert store.put(pod("p", 6, uid="new")) is Change.ADDED
    assert store.controlled_by("job") == []
    assert store.key_of_uid("old") is None


def test_a_late_deletion_of_a_former_object_spares_its_successor() -> None:
    store = ObjectStore()
    store.put(pod("p", 6, uid="new"))
    assert store.remove(KEY, "old") is None
    assert KEY in store


def test_objects_are_found_by_the_uid_of_their_controller() -> None:
    store = ObjectStore()
    store.put(pod("b", 1, uid="ub", owner="job"))
    store.put(pod("a", 2, uid="ua", owner="job"))
    store.put(pod("c", 3, uid="uc"))
    assert [k.name for k in store.controlled_by("job")] == ["a", "b"]
    store.remove(ObjectKey("Pod", "ns", "a"))
    assert [k.name for k in store.controlled_by("job")] == ["b"]


CONTAINERS = [{"name": f"c{i}", "image": f"registry.example/image-{i}", "args": list("abcdef")} for i in range(9)]


def crowd(store: ObjectStore, names: Iterable[str], version: int = 1) -> None:
    for name in names:
        store.put(pod(name, version, uid=f"uid-{name}", containers=CONTAINERS))


def names_kept_whole(store: ObjectStore) -> set[str]:
    return {key.name for key, entry in store._entries.items() if entry.codec is None}


def test_similar_objects_take_a_small_part_of_their_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "NEWEST", 0)
    store = ObjectStore()
    crowd(store, [f"p{number}" for number in range(50)])
    whole = len(json.dumps(pod("p1", 1, containers=CONTAINERS)))
    kept = sorted(len(entry.blob) for entry in store._entries.values())
    assert kept[25] < whole / 6
    assert store.get(ObjectKey("Pod", "ns", "p49")) == pod("p49", 1, uid="uid-p49", containers=CONTAINERS)


def test_only_the_newest_objects_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "NEWEST", 3 * len(json.dumps(pod("a", 1, containers=CONTAINERS))))
    store = ObjectStore()
    crowd(store, "abcd")
    assert names_kept_whole(store) == {"b", "c", "d"}
    store.put(pod("b", 2, uid="uid-b", containers=CONTAINERS, phase="Running"))
    crowd(store, "e")
    assert names_kept_whole(store) == {"d", "b", "e"}


def test_what_is_gone_takes_no_room_from_what_is_there() -> None:
    store = ObjectStore()
    crowd(store, "abc")
    for name in "abc":
        store.remove(ObjectKey("Pod", "ns", name))
    crowd(store, "d", version=5)
    crowd(store, "d", version=6)
    store.put(pod("d", 7, uid="another"))
    assert store._newest_bytes == sum(len(entry.blob) for entry in store._entries.values())


def test_an_object_as_long_as_many_is_never_kept_whole() -> None:
    store = ObjectStore()
    store.put(pod("p", 1, scripts="x" * LONG))
    assert names_kept_whole(store) == set()


def test_what_is_settled_stays_so_until_the_content_changes() -> None:
    store = ObjectStore()
    store.put(pod("p", 5, phase="Running"))
    store.settle(KEY, "digest")
    store.put(pod("p", 6, phase="Running"))
    assert store.is_settled(KEY, "digest")
    assert not store.is_settled(KEY, "other")
    store.put(pod("p", 7, phase="Failed"))
    assert not store.is_settled(KEY, "digest")
