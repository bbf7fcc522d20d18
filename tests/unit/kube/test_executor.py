"""What is written, what is left alone, and what is told."""

import pytest
from fake_api import FakeApi
from harness import Machine
from hearth.api.base import Json
from hearth.kube.api import WatchEvent
from hearth.kube.errors import ApiError, ConflictError, ForbiddenError, InvalidError
from hearth.plan.world import Apply, ObjectKey, Plan
from widget import config_map, widget, widget_key

TEXT = ObjectKey("ConfigMap", "default", "w-text")
RUN = ObjectKey("Deployment", "default", "w-run")


@pytest.fixture
async def machine() -> Machine:
    machine = Machine(FakeApi())
    machine.api.put(widget("w"))
    await machine.relist()
    return machine


def make_available(machine: Machine, replicas: int = 1) -> None:
    machine.api.edit(RUN, lambda obj: obj.update(status={"availableReplicas": replicas}))


def refuse_once(machine: Machine, wanted: ObjectKey, error: Exception) -> None:
    """The API server answers the first write of an object with this error."""
    left = iter([error])

    def before_write(verb: str, key: ObjectKey) -> None:
        if key == wanted and (answer := next(left, None)) is not None:
            raise answer

    machine.api.before_write = before_write


def warnings(machine: Machine) -> list[tuple[str, str]]:
    """Reason and note of every Warning there is."""
    told = [s.obj for key, s in machine.api.objects.items() if key.kind == "Event"]
    return [(e["reason"], e["note"]) for e in told if e["type"] == "Warning"]


async def test_a_resource_costs_its_children_and_two_status_writes(machine: Machine) -> None:
    await machine.settle()
    make_available(machine)
    await machine.converge()
    verbs = [verb for verb, _ in machine.api.writes]
    assert sorted(verbs) == ["apply", "apply", "apply_status", "apply_status"]


async def test_children_are_owned_and_labelled(machine: Machine) -> None:
    await machine.settle()
    meta = machine.api.live(TEXT)["metadata"]
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "Widget",
            "name": "w",
            "uid": machine.live("Widget", "w")["metadata"]["uid"],
            "controller": True,
        }
    ]
    assert meta["labels"] == {
        "app.kubernetes.io/managed-by": "hearth",
        "hearth.dev/kind": "Widget",
        "hearth.dev/name": "w",
    }


async def test_looking_again_at_a_converged_resource_writes_nothing(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    for _ in range(2):
        machine.queue.add(widget_key("w"))
        await machine.settle()
    assert machine.api.writes == []


async def test_a_restart_writes_nothing(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    again = Machine(machine.api)
    await again.relist()
    await again.settle()
    assert machine.api.writes == []


async def test_a_child_edited_by_somebody_is_put_right_with_one_write(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    machine.api.edit(RUN, lambda obj: obj["spec"].update(replicas=7))
    await machine.converge()
    assert machine.api.writes == [("apply", RUN)]
    assert machine.api.live(RUN)["spec"]["replicas"] == 1


async def test_what_somebody_adds_beside_ours_is_left_alone(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    machine.api.edit(RUN, lambda obj: obj["metadata"].setdefault("annotations", {}).update(team="blue"))
    await machine.converge()
    assert machine.api.writes == []


async def test_a_field_that_is_no_longer_wanted_goes_away(machine: Machine) -> None:
    await machine.settle()
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(text="goodbye"))
    await machine.converge()
    assert machine.api.live(TEXT)["data"] == {"goodbye": "yes"}


async def test_a_child_deleted_by_somebody_comes_back(machine: Machine) -> None:
    await machine.settle()
    machine.api.remove(TEXT)
    await machine.converge()
    assert TEXT in machine.api.objects


async def test_a_foreign_object_of_the_same_name_is_never_written_and_told_of() -> None:
    machine = Machine(FakeApi())
    foreign = machine.api.put({**config_map("w", "mine"), "metadata": {"name": "w-text", "namespace": "default"}})
    machine.api.put(widget("w"))
    await machine.relist()
    for _ in range(3):
        machine.clock.seconds += 400
        await machine.settle()
    assert machine.api.live(TEXT) == foreign
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert conditions["Stalled"]["reason"] == "NameTaken"
    assert [reason for reason, _ in warnings(machine)] == ["NameTaken"]
    assert "ConfigMap w-text exists already and is not controlled by anything" in conditions["Stalled"]["message"]
    assert RUN in machine.api.objects, "the other children are not disturbed"


async def test_a_child_that_outlives_its_owner_is_found_again_by_the_next_one_of_that_name() -> None:
    machine = Machine(FakeApi())
    machine.api.put(widget("w", keepsake="first"))
    await machine.relist()
    await machine.settle()
    kept = ObjectKey("ConfigMap", "default", "w-keepsake")
    uid = machine.api.live(kept)["metadata"]["uid"]
    assert "ownerReferences" not in machine.api.live(kept)["metadata"]
    machine.api.remove(widget_key("w"))
    machine.api.put(widget("w", keepsake="second"))
    await machine.relist()
    machine.queue.add(widget_key("w"))
    await machine.settle()
    assert machine.api.live(kept)["metadata"]["uid"] == uid
    assert machine.api.live(kept)["data"] == {"second": "yes"}


async def test_another_resource_does_not_get_hold_of_a_child_without_an_owner() -> None:
    machine = Machine(FakeApi())
    other = {"app.kubernetes.io/managed-by": "hearth", "hearth.dev/kind": "Widget", "hearth.dev/name": "someone"}
    found = {**config_map("w", "theirs", suffix="keepsake")}
    found["metadata"] = {"name": "w-keepsake", "namespace": "default", "labels": other}
    theirs = machine.api.put(found)
    machine.api.put(widget("w", keepsake="mine"))
    await machine.relist()
    await machine.settle()
    assert machine.api.live(ObjectKey("ConfigMap", "default", "w-keepsake")) == theirs


def make_again(machine: Machine) -> None:
    """Deletes the Widget and makes it again at once, as `kubectl replace --force` does; its children stay for now."""
    machine.api.collects_late = True
    machine.api.remove(widget_key("w"))
    machine.api.put(widget("w"))
    for _, event in machine.api.log[-2:]:
        machine.see(event)


def collect(machine: Machine) -> None:
    """The garbage collector comes, and the watches tell of it."""
    before = len(machine.api.log)
    machine.api.collect()
    for _, event in machine.api.log[before:]:
        machine.see(event)


async def test_children_of_a_former_owner_of_that_name_are_waited_for_without_a_complaint(machine: Machine) -> None:
    await machine.settle()
    former = machine.live("Widget", "w")["metadata"]["uid"]
    make_again(machine)
    machine.api.writes.clear()
    await machine.settle()
    assert [verb for verb, _ in machine.api.writes] == ["apply_status"], "neither taken over nor told of"
    assert machine.api.live(TEXT)["metadata"]["ownerReferences"][0]["uid"] == former
    conditions = {c["type"]: c["status"] for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert (conditions["Stalled"], conditions["Reconciling"]) == ("False", "True")
    collect(machine)
    await machine.settle()
    owners = {machine.api.live(child)["metadata"]["ownerReferences"][0]["uid"] for child in (TEXT, RUN)}
    assert owners == {machine.live("Widget", "w")["metadata"]["uid"]}


async def test_a_former_owners_child_that_no_watch_has_shown_is_waited_for_too(machine: Machine) -> None:
    await machine.settle()
    machine.cache.remove(TEXT)
    make_again(machine)
    await machine.settle()
    collect(machine)
    await machine.settle()
    assert machine.api.live(TEXT)["data"] == {"hello": "yes"}
    assert warnings(machine) == []


async def test_a_former_owners_child_without_labels_is_asked_for_until_it_is_gone(machine: Machine) -> None:
    await machine.settle()
    machine.see(WatchEvent("MODIFIED", machine.api.edit(TEXT, lambda obj: obj["metadata"].pop("labels"))))
    make_again(machine)
    await machine.workers.work_on(widget_key("w"))
    assert [reason for reason, _ in warnings(machine)] == ["NameTaken"]
    machine.api.collect()
    machine.cache.remove(RUN)
    machine.clock.seconds += 400
    await machine.settle()
    assert machine.api.live(TEXT)["data"] == {"hello": "yes"}


async def test_once_the_name_is_free_the_resource_recovers_by_itself() -> None:
    machine = Machine(FakeApi())
    machine.api.put({**config_map("w", "mine"), "metadata": {"name": "w-text", "namespace": "default"}})
    machine.api.put(widget("w"))
    await machine.relist()
    await machine.settle(passes=20_000)
    machine.api.remove(TEXT)
    machine.clock.seconds += 400
    await machine.settle()
    assert machine.api.live(TEXT)["data"] == {"hello": "yes"}
    assert {c["type"]: c["status"] for c in machine.live("Widget", "w")["status"]["conditions"]}["Stalled"] == "False"


async def test_a_child_whose_label_was_taken_off_gets_it_back(machine: Machine) -> None:
    await machine.settle()
    machine.api.edit(TEXT, lambda obj: obj["metadata"].pop("labels"))
    machine.cache.remove(TEXT)  # a watch by label sees a deletion
    await machine.settle()
    assert machine.api.live(TEXT)["metadata"]["labels"]["hearth.dev/name"] == "w"


async def test_a_successor_of_a_child_that_is_not_ours_is_not_taken_over(machine: Machine) -> None:
    await machine.settle()
    machine.api.remove(TEXT)
    foreign = machine.api.put({**config_map("w", "mine"), "metadata": {"name": "w-text", "namespace": "default"}})
    machine.queue.add(widget_key("w"))
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(text="changed"))
    machine.cache.put(machine.live("Widget", "w"))  # the cache still believes in the old ConfigMap
    await machine.workers.work_on(widget_key("w"))
    assert machine.api.live(TEXT) == foreign


async def test_a_refused_child_is_told_with_the_servers_words(machine: Machine) -> None:
    def quota(verb: str, key: ObjectKey) -> None:
        if key == RUN and verb == "apply":
            raise InvalidError(422, "Invalid", "spec.replicas: must be odd")

    machine.api.before_write = quota
    await machine.workers.work_on(widget_key("w"))
    stalled = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}["Stalled"]
    assert (stalled["reason"], stalled["status"]) == ("ChildRefused", "True")
    assert "refused Deployment w-run: spec.replicas: must be odd" in stalled["message"]
    told = [("ChildRefused", "The API server refused Deployment w-run: spec.replicas: must be odd")]
    assert warnings(machine) == told
    await machine.workers.work_on(widget_key("w"))
    assert warnings(machine) == told, "what is on record is not told again"


async def test_a_webhook_that_is_down_is_told_until_it_answers(machine: Machine) -> None:
    words = 'Internal error occurred: failed calling webhook "policy.example": connection refused'

    def webhook(verb: str, key: ObjectKey) -> None:
        if key == RUN and verb == "apply":
            raise ApiError(500, "InternalError", words)

    machine.api.before_write = webhook
    for _ in range(3):
        machine.clock.seconds += 400
        await machine.settle()
    stalled = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}["Stalled"]
    assert (stalled["reason"], stalled["status"]) == ("ChildRefused", "True")
    assert stalled["message"] == f"The API server refused Deployment w-run: {words}"
    assert [reason for reason, _ in warnings(machine)] == ["ChildRefused"]
    assert [verb for verb, _ in machine.api.writes].count("apply_status") == 1
    machine.api.before_write = lambda verb, key: None
    machine.clock.seconds += 400
    await machine.settle()
    assert RUN in machine.api.objects
    assert {c["type"]: c["status"] for c in machine.live("Widget", "w")["status"]["conditions"]}["Stalled"] == "False"


async def test_a_conflict_that_is_not_about_the_name_is_no_news_about_a_child(machine: Machine) -> None:
    quota = 'Operation cannot be fulfilled on resourcequotas "q"'
    refuse_once(machine, RUN, ConflictError(409, "Conflict", quota))
    await machine.workers.work_on(widget_key("w"))
    assert "conditions" not in machine.live("Widget", "w")["status"]
    await machine.settle()
    assert RUN in machine.api.objects
    assert warnings(machine) == []


@pytest.mark.parametrize("code", [401, 429, 502, 503, 504])
async def test_an_api_server_that_has_no_time_is_no_news_about_a_child(machine: Machine, code: int) -> None:
    def busy(verb: str, key: ObjectKey) -> None:
        if key == RUN:
            raise ApiError(code, "", "too many requests")

    machine.api.before_write = busy
    await machine.workers.work_on(widget_key("w"))
    assert "conditions" not in machine.live("Widget", "w")["status"]


async def test_a_deletion_that_a_policy_forbids_is_told(machine: Machine) -> None:
    extra = ObjectKey("ConfigMap", "default", "w-extra")
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(extra="more"))
    await machine.converge()

    def policy(verb: str, key: ObjectKey) -> None:
        if (verb, key) == ("delete", extra):
            raise ForbiddenError(403, "Forbidden", "deletion is protected")

    machine.api.before_write = policy
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].pop("extra"))
    await machine.converge()
    assert warnings(machine) == [("ChildRefused", "The API server refused ConfigMap w-extra: deletion is protected")]


async def test_a_status_that_its_crd_refuses_is_told_once_and_the_children_are_made(machine: Machine) -> None:
    def strict(status: Json) -> None:
        if any(c["reason"] == "Starting" for c in status["conditions"]):
            raise InvalidError(422, "Invalid", "status.conditions[0].reason: Invalid value: should match '^[A-Z]'")

    machine.api.before_status = strict
    for _ in range(3):
        machine.clock.seconds += 400
        await machine.settle()
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert (conditions["Stalled"]["reason"], conditions["Stalled"]["status"]) == ("StatusRefused", "True")
    assert "should match '^[A-Z]'" in conditions["Stalled"]["message"]
    assert [reason for reason, _ in warnings(machine)] == ["StatusRefused"]
    assert RUN in machine.api.objects
    assert [verb for verb, _ in machine.api.writes].count("create") == 1
    make_available(machine)
    await machine.converge()
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert (conditions["Ready"]["status"], conditions["Stalled"]["status"]) == ("True", "False")


async def test_no_child_is_made_whose_status_has_to_be_on_record_before_and_is_refused(machine: Machine) -> None:
    def strict(status: Json) -> None:
        if "startTime" in status:
            raise InvalidError(422, "Invalid", "status.startTime: Invalid value")

    machine.api.before_status = strict
    owner = machine.live("Widget", "w")
    plan = Plan({"startTime": "now"}, (Apply(config_map("w", "hello")),), status_first=True)
    outcome = await machine.executor.execute(owner, plan)
    assert [problem.reason for problem in outcome.problems] == ["StatusRefused"]
    assert TEXT not in machine.api.objects


async def test_an_owner_whose_deletion_no_watch_told_of_is_forgotten_when_its_status_finds_nobody(
    machine: Machine,
) -> None:
    await machine.settle()
    make_available(machine)
    await machine.converge()
    machine.api.remove(widget_key("w"))
    for child in (TEXT, RUN):
        machine.cache.remove(child)
    await machine.settle()
    assert widget_key("w") not in machine.cache.store
    for child in (TEXT, RUN):  # made once more, and collected
        machine.api.remove(child)
        machine.cache.remove(child)
    machine.api.writes.clear()
    await machine.settle()
    assert machine.api.writes == []


async def test_a_deleted_owner_is_left_in_peace(machine: Machine) -> None:
    machine.api.edit(widget_key("w"), lambda obj: obj["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"))
    await machine.converge()
    assert machine.api.writes == []


async def test_a_paused_resource_is_not_touched_and_says_so(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    pause = {"hearth.dev/reconcile": "disabled"}
    machine.api.edit(widget_key("w"), lambda obj: obj["metadata"].update(annotations=pause))
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(replicas=5))
    machine.api.remove(TEXT)
    await machine.converge()
    assert machine.api.writes == [("apply_status", widget_key("w"))]
    assert "Paused" in {c["type"] for c in machine.live("Widget", "w")["status"]["conditions"]}
    machine.api.edit(widget_key("w"), lambda obj: obj["metadata"].pop("annotations"))
    await machine.converge()
    assert TEXT in machine.api.objects
    assert "Paused" not in {c["type"] for c in machine.live("Widget", "w")["status"]["conditions"]}


async def test_a_failing_plan_is_told_once_and_touches_nothing(machine: Machine) -> None:
    await machine.settle()
    machine.api.writes.clear()
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(text="explode"))
    await machine.resync()
    for _ in range(5):
        machine.clock.seconds += 400
        await machine.workers.work_on(widget_key("w"))
    assert [verb for verb, _ in machine.api.writes] == ["apply_status", "create"]
    ((reason, note),) = warnings(machine)
    assert (reason, note.startswith("ValueError: the text explodes")) == ("InternalError", True)
    conditions = {c["type"]: c for c in machine.live("Widget", "w")["status"]["conditions"]}
    assert conditions["Stalled"]["reason"] == "InternalError"
    assert "ValueError: the text explodes" in conditions["Stalled"]["message"]
    assert TEXT in machine.api.objects


async def test_a_child_no_longer_wanted_is_deleted_by_its_uid(machine: Machine) -> None:
    extra = ObjectKey("ConfigMap", "default", "w-extra")
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].update(extra="more"))
    await machine.converge()
    assert extra in machine.api.objects
    machine.api.edit(widget_key("w"), lambda obj: obj["spec"].pop("extra"))
    await machine.converge()
    assert extra not in machine.api.objects


async def test_a_write_that_comes_too_late_is_tried_again(machine: Machine) -> None:
    refuse_once(machine, RUN, ConflictError(409, "Conflict", "the object has been modified"))
    await machine.settle()
    assert RUN in machine.api.objects
