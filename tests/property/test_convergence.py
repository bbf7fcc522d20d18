"""Random histories against the whole machinery, an API server in memory below it.

Users edit, somebody meddles with children, garbage is collected late, events are lost, repeated and reordered, the
operator dies between two writes. Whatever happened: once it stops happening, the world becomes what a fresh
installation would have made of the same specs, and then the operator falls silent. The oracles are those of Sieve
(OSDI '22), Acto (SOSP '23) and Anvil (OSDI '24), put in the operator's own terms.
"""

import asyncio
import copy
from typing import Any

from fake_api import CrashedError, FakeApi
from harness import Clock, Machine
from hearth.api.base import Json
from hearth.plan.world import ObjectKey, controller_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from widget import config_map, widget, widget_key

NAMES = ("a", "b", "c")
CHILD_NAMES = tuple((kind, f"{n}-{s}") for n in NAMES for kind, s in (("ConfigMap", "text"), ("Deployment", "run")))
DATA = ObjectKey("ConfigMap", "default", "data")
DATA_METADATA = {"name": "data", "namespace": "default"}

names = st.sampled_from(NAMES)
specs = st.fixed_dictionaries(
    {"text": st.sampled_from(["hello", "hello world", "goodbye", "explode"])},
    optional={
        "replicas": st.integers(0, 3),
        "configFrom": st.just("data"),
        "partner": names,
        "extra": st.sampled_from(["more", "much more"]),
    },
)


class Histories(RuleBasedStateMachine):
    """One API server, one operator process after another, and everybody else."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.api = FakeApi()
        self.machine = Machine(self.api, clock=self.clock)
        self.delivered = 0
        self.foreign: dict[ObjectKey, Json] = {}
        self.disturbed: set[str] = set()
        """Widgets that may have missed a name, once: it was somebody else's, or looked like it."""
        self.seen_generation: dict[str, int] = {}

    def teardown(self) -> None:
        self._converge()
        self.loop.close()

    @initialize(late=st.booleans())
    def garbage_collector(self, late: bool) -> None:
        self.api.collects_late = late

    # Users

    @rule(name=names, spec=specs)
    def apply(self, name: str, spec: Json) -> None:
        if widget_key(name) in self.api.objects:
            self.api.edit(widget_key(name), lambda obj: obj.update(spec={"text": "hello", **spec}))
        else:
            self.api.put(widget(name, **spec))

    @rule(name=names)
    def delete(self, name: str) -> None:
        if widget_key(name) in self.api.objects:
            self.api.remove(widget_key(name))

    @rule(name=names, spec=specs)
    def replace(self, name: str, spec: Json) -> None:
        self.delete(name)
        self.apply(name, spec)
        self.resync()
        self._work(3)  # mostly, the operator is there before the garbage collector

    @rule(name=names, paused=st.booleans())
    def pause(self, name: str, paused: bool) -> None:
        if widget_key(name) in self.api.objects:
            note = {"hearth.dev/reconcile": "disabled"} if paused else {}
            self.api.edit(widget_key(name), lambda obj: obj["metadata"].update(annotations=note))

    @rule(present=st.booleans())
    def data(self, present: bool) -> None:
        if present and DATA not in self.api.objects:
            self.api.put(config_map("data", "rows") | {"metadata": copy.deepcopy(DATA_METADATA)})
        elif not present and DATA in self.api.objects:
            self.api.remove(DATA)

    # Everybody else

    @rule(
        child=st.sampled_from(CHILD_NAMES),
        how=st.sampled_from(["value", "label", "beside", "delete", "ownerless", "released"]),
    )
    def meddle(self, child: tuple[str, str], how: str) -> None:
        key = ObjectKey(child[0], "default", child[1])
        if key not in self.api.objects or key in self.foreign:
            return
        if how == "delete":
            self.api.remove(key)
            return
        if how in ("released", "label"):
            self.disturbed.add(key.name.partition("-")[0])
        if how == "released":
            # It stops being ours, for good: from now on it is somebody else's. Without its owner alone it would be
            # taken back, as a volume is whose last owner was deleted.
            self.foreign[key] = self.api.edit(key, _release)
        else:
            self.api.edit(key, lambda obj: _meddle(obj, how))

    @rule(child=st.sampled_from(CHILD_NAMES))
    def take_a_name(self, child: tuple[str, str]) -> None:
        key = ObjectKey(child[0], "default", child[1])
        if key not in self.api.objects:
            meta = {"name": key.name, "namespace": "default"}
            obj: Json = {"apiVersion": "v1", "kind": key.kind, "metadata": meta, "data": {"mine": "yes"}}
            self.disturbed.add(key.name.partition("-")[0])
            self.foreign[key] = self.api.put(obj)

    @precondition(lambda self: self.foreign)
    @rule(data=st.data())
    def free_a_name(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.foreign)))
        del self.foreign[key]
        self.api.remove(key)

    @rule(name=names, available=st.integers(0, 3))
    def deployment_controller(self, name: str, available: int) -> None:
        key = ObjectKey("Deployment", "default", f"{name}-run")
        if key in self.api.objects and key not in self.foreign:
            self.api.edit(key, lambda obj: obj.update(status={"availableReplicas": available}))

    @rule()
    def collect_garbage(self) -> None:
        self.api.collect()

    # The network between

    @rule(
        shuffle=st.randoms(use_true_random=False), fate=st.sampled_from(["order", "order", "reorder", "twice", "lose"])
    )
    def deliver(self, shuffle: Any, fate: str) -> None:
        events = [event for _, event in self.api.log[self.delivered :]]
        self.delivered = len(self.api.log)
        if fate == "reorder":
            shuffle.shuffle(events)
        for event in events * (2 if fate == "twice" else 0 if fate == "lose" else 1):
            self.machine.see(event)

    @rule()
    def resync(self) -> None:
        self._run(self.machine.resync())

    # The operator

    @rule(passes=st.integers(1, 6))
    def work(self, passes: int) -> None:
        self._work(passes)

    @rule(passes=st.integers(1, 4), write=st.integers(0, 3))
    def die_at_a_write(self, passes: int, write: int) -> None:
        left = iter(range(write))

        def crash(verb: str, key: ObjectKey) -> None:
            if next(left, None) is None:
                raise CrashedError

        self.api.before_write = crash
        try:
            self._work(passes)
        except CrashedError:
            self.restart()
        finally:
            self.api.before_write = lambda verb, key: None

    @rule()
    def restart(self) -> None:
        self.machine = Machine(self.api, clock=self.clock)
        self.delivered = len(self.api.log)
        self._run(self.machine.relist())

    @rule(seconds=st.sampled_from([1, 30, 400]))
    def time_passes(self, seconds: int) -> None:
        self.clock.seconds += seconds

    # What must hold

    @invariant()
    def foreign_objects_are_never_written(self) -> None:
        for key, before in self.foreign.items():
            assert self.api.live(key) == before

    @invariant()
    def no_status_speaks_of_a_spec_that_is_not_there_yet(self) -> None:
        for name in NAMES:
            if widget_key(name) in self.api.objects:
                obj = self.api.live(widget_key(name))
                assert obj["status"]["observedGeneration"] <= obj["metadata"]["generation"]

    @invariant()
    def no_name_is_called_taken_that_was_not(self) -> None:
        for name in set(NAMES) - self.disturbed:
            if widget_key(name) in self.api.objects:
                told = self.api.live(widget_key(name))["status"].get("conditions", ())
                assert "NameTaken" not in {c["reason"] for c in told}

    @rule()
    def converge(self) -> None:
        self._converge()

    def _converge(self) -> None:
        self.api.collect()
        self.delivered = len(self.api.log)
        for _ in range(3):
            # Names that were taken are asked for again at most every five minutes.
            self.clock.seconds += 301
            self._run(self.machine.resync())
            self._run(self.machine.settle(5000))
        self._is_silent()
        self._statuses_are_honest()
        self._children_are_those_of_a_fresh_installation()

    def _is_silent(self) -> None:
        failing = {key for key in self.machine.cache.owner_keys() if self.machine.queue.failures(key)}
        self.api.writes.clear()
        for _ in range(2):
            for key in self.machine.cache.owner_keys():
                if key not in failing:
                    self._run(self.machine.workers.work_on(key))
        assert self.api.writes == []

    def _statuses_are_honest(self) -> None:
        for key in self.machine.cache.owner_keys():
            obj = self.api.live(key)
            told = {c["type"]: c["status"] for c in obj["status"].get("conditions", ())}
            if told.get("Paused") == "True":
                continue
            if obj["spec"]["text"] != "explode":
                assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]
            children = (ObjectKey("ConfigMap", "default", f"{key.name}-text"), self._run_key(key))
            if told["Ready"] == "True" and told["Stalled"] == "False":
                assert all(child in self.api.objects and child not in self.foreign for child in children)
                status = self.api.live(self._run_key(key)).get("status", {})
                assert status.get("availableReplicas", 0) >= obj["spec"].get("replicas", 1)
            if any(child in self.foreign for child in children) and self._acts(obj):
                assert told["Stalled"] == "True"

    def _children_are_those_of_a_fresh_installation(self) -> None:
        fresh = Machine(FakeApi())
        owners = [self.api.live(key) for key in self.machine.cache.owner_keys()]
        for obj in owners:
            fresh.api.put({**obj, "metadata": {"name": obj["metadata"]["name"], "namespace": "default"}})
        if DATA in self.api.objects:
            fresh.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": copy.deepcopy(DATA_METADATA)})
        self._run(fresh.relist())
        self._run(fresh.settle(5000))
        for obj in owners:
            if self._acts(obj):
                assert self._children(self.api, obj) == self._children(fresh.api, obj)

    def _children(self, api: FakeApi, owner: Json) -> dict[ObjectKey, Json]:
        """The children as applied, without what differs between two clusters or was put beside them."""
        uid = api.live(widget_key(owner["metadata"]["name"]))["metadata"]["uid"]
        found = {}
        for key, stored in api.objects.items():
            controller = controller_of(stored.obj)
            if controller is not None and controller["uid"] == uid:
                obj = copy.deepcopy(stored.obj)
                for part in (obj["metadata"]["annotations"], obj["metadata"]["labels"], obj.get("data", {})):
                    part.pop("beside", None)
                meta = {name: obj["metadata"][name] for name in ("labels", "name")}
                found[key] = {**obj, "metadata": meta, "status": {}}
        return {key: obj for key, obj in found.items() if key not in self.foreign}

    @staticmethod
    def _acts(obj: Json) -> bool:
        """Whether the plan of this owner makes children at all, now."""
        is_paused = (obj["metadata"].get("annotations") or {}).get("hearth.dev/reconcile") == "disabled"
        told = {c["type"]: c for c in obj["status"].get("conditions", ())}
        is_waiting = told.get("Ready", {}).get("reason") == "Waiting"
        return not is_paused and not is_waiting and obj["spec"]["text"] != "explode"

    @staticmethod
    def _run_key(key: ObjectKey) -> ObjectKey:
        return ObjectKey("Deployment", "default", f"{key.name}-run")

    def _work(self, passes: int) -> None:
        for _ in range(passes):
            due = self.machine.queue.next_due()
            if due is None or due > self.clock.seconds + 1:
                return
            self.clock.seconds = max(self.clock.seconds, due)
            key = self.machine.queue.pop()
            assert key is not None
            self._run(self.machine.workers.work_on(key))

    def _run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)


def _release(obj: Json) -> None:
    for part in ("ownerReferences", "labels"):
        obj["metadata"].pop(part, None)


def _meddle(obj: Json, how: str) -> None:
    if how == "ownerless":
        obj["metadata"].pop("ownerReferences", None)
    elif how == "label":
        obj["metadata"]["labels"].pop("app.kubernetes.io/managed-by", None)
    elif how == "beside":
        obj["metadata"]["labels"]["beside"] = "yes"
    elif obj["kind"] == "Deployment":
        obj["spec"]["replicas"] = 9
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/other:2"
    else:
        obj["data"] = {"beside": "words"}


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
