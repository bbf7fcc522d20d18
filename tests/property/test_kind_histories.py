"""Random histories of the three real kinds: whatever happens, no plan fails, and in the end there is silence.

The machinery is the operator's own; API server and controllers are small ones in memory.
"""

import asyncio
import hashlib
import json
from typing import Any

from fake_api import CrashedError, FakeApi
from harness import Clock, Machine
from hearth.api.base import Json
from hearth.plan.world import ObjectKey
from hearth.render.vllm import pinned_name
from hearth.runtime.kinds import KINDS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from kind_results import FACTS, RESULTS
from small_kubernetes import NODE, SmallKubernetes
from widget import SETTINGS

MODEL = {"uri": "oci://registry.example/models/smollm2:1"}
OTHER_MODEL = {"uri": "oci://registry.example/models/minilm:2"}
CPU = {"count": 0}
TUNE = {
    "model": MODEL,
    "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
    "accelerator": CPU,
    "evaluation": {"metrics": ["JSONFieldF1"], "gate": {"metric": "JSONFieldF1", "atLeast": "0.8"}},
}
INDEX = {
    "milvus": {"topology": "Standalone", "storage": {"size": "2Gi"}},
    "sources": [{"name": "docs", "uri": "configMap://docs"}],
    "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
}
SPECS: dict[tuple[str, str], list[Json]] = {
    ("LLMService", "embedder"): [
        {"task": "Embed", "model": MODEL, "accelerator": CPU},
        {"task": "Embed", "model": MODEL, "accelerator": CPU, "suspend": True},
        {"task": "Embed", "model": OTHER_MODEL, "accelerator": CPU},
    ],
    ("LLMService", "chat"): [
        {"model": MODEL, "accelerator": CPU},
        {"model": MODEL, "accelerator": CPU, "replicas": 2},
        {"model": MODEL, "accelerator": CPU, "replicas": 0},
        {"model": MODEL, "accelerator": CPU, "rag": {"indexRef": {"name": "docs"}}},
        {"model": {"fromFineTune": {"name": "tune"}}, "accelerator": CPU},
        {"model": MODEL, "accelerator": {"count": 1}},
        {"model": MODEL, "engine": {"maxModelLen": 10_000_000}, "accelerator": CPU},
        {"model": {}, "accelerator": CPU},
    ],
    ("FineTuneJob", "tune"): [TUNE, {**TUNE, "suspend": True}, {**TUNE, "accelerator": {"count": 1}}, {"model": MODEL}],
    ("VectorIndex", "docs"): [
        INDEX,
        {**INDEX, "suspend": True},
        {**INDEX, "milvus": {"topology": "Standalone", "storage": {"size": "4Gi"}}},
        {**INDEX, "milvus": {"topology": "Lite"}},
        {**INDEX, "sources": []},
    ],
}
INPUTS = tuple(ObjectKey("ConfigMap", "default", name) for name in ("rows", "docs"))
OWNERS = tuple(sorted(SPECS))


def inspected(job: Json) -> Json:
    """What the inspection of a model finds: another image, another digest."""
    volumes = json.dumps(job["spec"]["template"]["spec"]["volumes"], sort_keys=True)
    return {"facts": FACTS | {"digest": f"sha256:{hashlib.sha256(volumes.encode()).hexdigest()}"}}


class KindHistories(RuleBasedStateMachine):
    """One cluster with one resource of each sort, and whoever disturbs it."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock, self.api = Clock(), FakeApi()
        self.api.put(NODE)
        results = {**RESULTS, "inspect": inspected}
        self.kubernetes = SmallKubernetes(self.api, results, {"inspect": {"facts": FACTS}})
        self.delivered = 0
        for key in INPUTS:
            self._provide(key, "one")
        for owner in OWNERS:
            self.declare(owner, SPECS[owner][0])
        self._start()

    def teardown(self) -> None:
        self.comes_to_rest()
        self.loop.close()

    @rule(owner=st.sampled_from(OWNERS), data=st.data())
    def apply(self, owner: tuple[str, str], data: Any) -> None:
        self.declare(owner, data.draw(st.sampled_from(SPECS[owner])))

    @rule(owner=st.sampled_from(OWNERS))
    def delete(self, owner: tuple[str, str]) -> None:
        key = ObjectKey(owner[0], "default", owner[1])
        if key in self.api.objects:
            self.api.remove(key)

    @rule(key=st.sampled_from(INPUTS), text=st.sampled_from(["one", "two", None]))
    def input(self, key: ObjectKey, text: str | None) -> None:
        if text is not None:
            self._provide(key, text)
        elif key in self.api.objects:
            self.api.remove(key)

    @rule()
    def controllers(self) -> None:
        self.kubernetes.act()

    @rule(fate=st.sampled_from(["succeed", "succeed", "fail", "killed", "forget"]))
    def jobs(self, fate: str) -> None:
        if fate == "succeed":
            self.kubernetes.finish_jobs()
        elif fate == "fail":
            self.kubernetes.finish_jobs(65, {"class": "BadData", "message": "line 3 is no JSON"})
        elif fate == "killed":
            self.kubernetes.finish_jobs(137, {"class": "OutOfMemory", "message": "killed"})
        else:
            self.kubernetes.forget_jobs()

    @rule(data=st.data())
    def somebody_deletes_a_child(self, data: Any) -> None:
        kinds = ("ConfigMap", "Service", "Deployment", "StatefulSet", "Job", "Pod", "PodDisruptionBudget")
        children = sorted(k for k in self.api.objects if k.kind in kinds and k not in INPUTS)
        if children:
            key = data.draw(st.sampled_from(children))
            self.api.remove(key)

    @rule(fate=st.sampled_from(["order", "reorder", "lose"]), shuffle=st.randoms(use_true_random=False))
    def deliver(self, fate: str, shuffle: Any) -> None:
        events = [event for _, event in self.api.log[self.delivered :]]
        self.delivered = len(self.api.log)
        if fate == "reorder":
            shuffle.shuffle(events)
        for event in events if fate != "lose" else ():
            self.machine.see(event)

    @rule(passes=st.integers(1, 8), dies_at=st.integers(0, 12))
    def work(self, passes: int, dies_at: int) -> None:
        left = iter(range(dies_at))

        def crash(verb: str, key: ObjectKey) -> None:
            if next(left, None) is None:
                raise CrashedError

        # In one history out of a few the process lives through all its writes.
        self.api.before_write = crash if dies_at < 9 else lambda verb, key: None
        try:
            self._work(passes)
        except CrashedError:
            self._start()
        finally:
            self.api.before_write = lambda verb, key: None

    @rule(seconds=st.sampled_from([1, 15, 700]))
    def time_passes(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @invariant()
    def no_plan_has_failed(self) -> None:
        for kind, name in OWNERS:
            key = ObjectKey(kind, "default", name)
            if key in self.api.objects:
                for condition in self.api.live(key).get("status", {}).get("conditions", ()):
                    assert condition["reason"] != "InternalError", condition["message"]

    @rule()
    def comes_to_rest(self) -> None:
        self.delivered = len(self.api.log)
        for _ in range(40):
            before = self.api.log[-1][0]
            self.clock.seconds += 400
            self._run(self.machine.resync())
            self._run(self.machine.settle(2000))
            self.kubernetes.act()
            self.kubernetes.finish_jobs()
            if self.api.log[-1][0] == before:
                break
        else:
            told = [event.object["kind"] + " " + event.object["metadata"]["name"] for _, event in self.api.log[-12:]]
            raise AssertionError(f"no rest after 40 rounds; the last changes: {told}")
        self.no_plan_has_failed()
        self._questions_are_embedded_by_the_model_of_the_vectors()
        self.api.writes.clear()
        for _ in range(2):
            for key in self.machine.cache.owner_keys():
                self._run(self.machine.workers.work_on(key))
        assert self.api.writes == []
        for key in self.machine.cache.owner_keys():
            obj = self.api.live(key)
            assert obj["status"]["observedGeneration"] == obj["metadata"]["generation"]

    def _questions_are_embedded_by_the_model_of_the_vectors(self) -> None:
        keys = [ObjectKey("LLMService", "default", n) for n in ("chat", "embedder")]
        if not all(key in self.api.objects for key in keys):
            return
        chat, embedder = map(self.api.live, keys)
        ready = next((c for c in chat["status"].get("conditions", ()) if c["type"] == "Ready"), {})
        if "rag" in chat["spec"] and ready.get("reason") == "Serving":
            assert self.asked_embedder() == pinned_name("embedder", embedder["status"]["model"]["digest"])

    def asked_embedder(self) -> str:
        """The model that the gateway asks for the vectors of questions."""
        pod = self.api.live(ObjectKey("Deployment", "default", "chat-gateway"))["spec"]["template"]["spec"]
        named = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config")
        told = self.api.live(ObjectKey("ConfigMap", "default", named))["data"]["config.json"]
        return str(json.loads(told)["rag"]["embedding"]["model"])

    def declare(self, owner: tuple[str, str], spec: Json) -> None:
        key = ObjectKey(owner[0], "default", owner[1])
        if key in self.api.objects:
            self.api.edit(key, lambda obj: obj.update(spec=spec))
            return
        meta = {"name": key.name, "namespace": "default"}
        self.api.put({"apiVersion": "hearth.dev/v1alpha1", "kind": key.kind, "metadata": meta, "spec": spec})

    def _provide(self, key: ObjectKey, text: str) -> None:
        meta = {"name": key.name, "namespace": "default"}
        self.api.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"train.jsonl": text}})

    def _start(self) -> None:
        self.machine = Machine(self.api, KINDS, self.clock, SETTINGS)
        self.delivered = len(self.api.log)
        self.machine.cache.put(self.api.live(ObjectKey("Node", "", "n")))
        self._run(self.machine.relist())

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


def test_another_embedding_model_ends_in_an_index_and_questions_that_are_both_its_own() -> None:
    history = KindHistories()
    history.declare(("LLMService", "chat"), {"model": MODEL, "accelerator": CPU, "rag": {"indexRef": {"name": "docs"}}})
    history.comes_to_rest()
    before = history.asked_embedder()

    history.declare(("LLMService", "embedder"), {"task": "Embed", "model": OTHER_MODEL, "accelerator": CPU})
    history.comes_to_rest()
    assert history.asked_embedder() != before
    history.teardown()


TestKindHistories = KindHistories.TestCase
TestKindHistories.settings = settings(
    max_examples=8,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
