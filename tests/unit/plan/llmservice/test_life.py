"""The life of a service: inspected, planned, rolled out, scaled, suspended."""

from typing import Any

from hearth.api.llmservice_status import LLMServiceStatus
from hearth.plan.conditions import rfc3339
from hearth.plan.quiet import QUIET


def test_a_model_is_inspected_before_any_engine_pod_is_made(generate: Any) -> None:
    generate.reconcile()
    assert {kind for kind, _ in generate.children} == {"ConfigMap", "Job"}
    assert generate.condition("ModelReady")["reason"] == "Inspecting"
    assert generate.condition("Reconciling")["status"] == "True"


def test_a_service_that_comes_up_quickly_costs_its_children_and_two_status_writes(generate: Any) -> None:
    generate.reconcile()
    generate.pass_time(1)
    generate.finish_inspection()
    generate.reconcile()
    generate.pass_time(1)
    generate.reconcile()
    generate.roll_out()
    generate.reconcile()
    assert generate.condition("Ready") | {"lastTransitionTime": ""} == {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "1 of 1 engine pods answered a real request",
        "observedGeneration": 1,
        "lastTransitionTime": "",
    }
    assert generate.child_writes == len(generate.children) == 9  # the inspection Job among them
    assert generate.status_writes == 2


def test_what_an_inspection_found_outlives_its_job_although_the_status_says_nothing_yet(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    assert "resolved" not in generate.owner["status"], "held back"
    made = set(generate.children)
    generate.forget_jobs()
    generate.reconcile()
    assert {kind for kind, _ in generate.children} - {kind for kind, _ in made} == set(), "not inspected again"
    generate.roll_out()
    generate.reconcile()
    assert generate.owner["status"]["resolved"]["model"]["parameters"] == 134_515_008
    assert generate.status_writes == 2


def test_the_record_of_another_model_says_nothing_of_the_one_that_is_wanted_now(generate: Any) -> None:
    generate.serve()
    del generate.owner["status"]["resolved"]
    generate.edit(model={"uri": "oci://models.example/another:1"})
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "Inspecting"


def test_a_record_that_somebody_spoilt_counts_for_nothing(generate: Any) -> None:
    for spoilt in ("no JSON", '"a word"', '{"model": {"source": 5}}'):
        generate.serve()
        generate.deployment()["metadata"]["annotations"]["hearth.dev/decided"] = spoilt
        generate.reconcile()
        assert generate.condition("Ready")["reason"] == "Serving"


def test_at_rest_nothing_is_written(generate: Any) -> None:
    generate.serve()
    generate.child_writes = generate.status_writes = 0
    for _ in range(3):
        generate.pass_time(1000)
        generate.reconcile()
    assert (generate.child_writes, generate.status_writes) == (0, 0)
    assert "Job" not in {kind for kind, _ in generate.children}, "a known model is not inspected again"


def test_a_slow_start_is_told_after_a_while(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    plan = generate.reconcile()
    assert plan.look_again is not None
    assert generate.condition("ModelReady")["reason"] == "Inspecting", "held back"
    generate.pass_time(plan.look_again.total_seconds())
    generate.reconcile()
    assert generate.condition("ModelReady")["status"] == "True"
    assert generate.condition("Ready")["reason"] == "RollingOut"
    assert generate.owner["status"]["memory"]["kvTokens"] == 46592


def test_an_engine_that_takes_its_time_is_told_as_soon_as_it_does(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    generate.break_new_pod(startTime=rfc3339(generate.now), phase="Running")
    plan = generate.reconcile()
    assert plan.look_again == QUIET
    generate.pass_time(QUIET.total_seconds())
    generate.reconcile()
    assert generate.condition("Ready")["reason"] == "RollingOut"


def test_an_inspection_that_took_minutes_is_still_no_reason_for_words_between(generate: Any) -> None:
    generate.reconcile()
    generate.pass_time(500)
    generate.finish_inspection()
    generate.reconcile()
    generate.pass_time(170)
    generate.roll_out()
    generate.reconcile()
    assert generate.condition("Ready")["status"] == "True"
    assert generate.status_writes == 2


def test_a_pod_without_a_node_is_told_within_seconds(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    no_node = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    generate.break_new_pod(conditions=[no_node])
    plan = generate.reconcile()
    assert plan.look_again == QUIET
    generate.pass_time(QUIET.total_seconds())
    generate.reconcile()
    assert generate.condition("Ready")["reason"] == "Unschedulable"


def test_pods_that_keep_coming_do_not_silence_a_service(generate: Any) -> None:
    generate.serve()
    generate.edit(replicas=20)
    generate.reconcile()
    for number in range(20):
        generate.pass_time(5)
        generate.pods.append(generate.pod("court-engine", number))
        generate._report("court-engine", updated=number, available=number, total=20)
        generate.reconcile()
    assert "19 of 20" in generate.condition("Ready")["message"]


def test_the_status_fits_its_schema(generate: Any) -> None:
    generate.serve()
    status = LLMServiceStatus.model_validate(generate.owner["status"])
    assert status.url == "http://court.law.svc.cluster.local:8000/v1"
    assert status.selector == "hearth.dev/component=engine,hearth.dev/kind=LLMService,hearth.dev/name=court"
    assert status.resolved is not None
    assert status.resolved.device == "CPU"
    assert status.resolved.served_name == "court"


def test_an_old_gateway_pod_keeps_its_configuration_until_the_new_revision_is_complete(generate: Any) -> None:
    generate.serve()
    old = generate.gateway_config()
    generate.edit(prompt={"system": "Answer in verse."})
    generate.reconcile()
    new = generate.gateway_config()
    assert old in generate.children.values()
    assert new != old
    generate.pass_time(20)
    generate.reconcile()
    assert old in generate.children.values(), "an old pod may have to be made again"
    generate.roll_out()
    generate.reconcile()
    assert [o for o in generate.children.values() if "config.json" in o.get("data", {})] == [new]


def test_an_embedder_has_no_gateway(embed: Any) -> None:
    embed.serve()
    assert ("Deployment", "court-gateway") not in embed.children
    assert embed.children[("Service", "court")]["spec"]["selector"]["hearth.dev/component"] == "engine"


def test_keys_put_a_gateway_before_an_embedder_and_its_removal_takes_it_away(embed: Any) -> None:
    embed.serve()
    embed.edit(access={"apiKeysSecretRef": {"name": "keys"}})
    embed.reconcile()
    assert ("Deployment", "court-gateway") in embed.children
    embed.roll_out()
    embed.reconcile()
    closed = embed.children[("NetworkPolicy", "court-engine")]["spec"]
    assert closed["podSelector"]["matchLabels"]["hearth.dev/component"] == "engine"
    (allowed,) = closed["ingress"]
    assert [f["podSelector"]["matchLabels"]["hearth.dev/component"] for f in allowed["from"]] == ["gateway"]
    embed.edit(access=None)
    embed.reconcile()
    names = {name for kind, name in embed.children if kind != "ConfigMap"}
    assert names == {"court", "court-engine"}


def test_clients_of_an_embedder_that_gets_keys_are_served_until_its_gateway_answers(embed: Any) -> None:
    embed.serve()
    embed.edit(access={"apiKeysSecretRef": {"name": "keys"}})
    embed.reconcile()
    client = ("Service", "court")
    assert embed.children[client]["spec"]["selector"]["hearth.dev/component"] == "engine"
    assert ("NetworkPolicy", "court-engine") not in embed.children
    assert embed.condition("Available")["status"] == "True"
    assert embed.condition("Ready")["status"] == "False"
    assert "keys are not asked for until the gateway answers" in embed.condition("Ready")["message"]
    embed.roll_out()
    embed.reconcile()
    assert embed.children[client]["spec"]["selector"]["hearth.dev/component"] == "gateway"
    assert ("NetworkPolicy", "court-engine") in embed.children
    embed.reconcile()
    assert "keys are not asked for" not in embed.condition("Available")["message"]
    embed.children[("Deployment", "court-gateway")]["status"]["availableReplicas"] = 0
    embed.reconcile()
    assert embed.children[client]["spec"]["selector"]["hearth.dev/component"] == "gateway", "never open again"


def test_an_embedder_that_has_keys_from_the_start_is_never_open(embed: Any) -> None:
    embed.edit(access={"apiKeysSecretRef": {"name": "keys"}})
    embed.reconcile()
    embed.finish_inspection()
    embed.reconcile()
    assert embed.children[("Service", "court")]["spec"]["selector"]["hearth.dev/component"] == "gateway"
    assert ("NetworkPolicy", "court-engine") in embed.children


def test_scaling_changes_the_number_of_pods_and_nothing_else(generate: Any) -> None:
    generate.serve()
    template = generate.deployment()["spec"]["template"]
    generate.edit(replicas=3)
    generate.reconcile()
    assert generate.deployment()["spec"]["replicas"] == 3
    assert generate.deployment()["spec"]["template"] == template
    assert generate.condition("Ready")["reason"] == "RollingOut"
    generate.roll_out()
    generate.reconcile()
    assert generate.owner["status"]["replicas"] == 3


def test_zero_replicas_are_no_failure(generate: Any) -> None:
    generate.serve()
    generate.edit(replicas=0)
    generate.reconcile()
    generate.roll_out()
    generate.reconcile()
    assert generate.condition("Ready")["status"] == "True"
    assert generate.condition("Ready")["reason"] == "ScaledToZero"
    assert generate.condition("Available")["status"] == "False"


def test_a_suspended_service_keeps_everything_but_its_pods(generate: Any) -> None:
    generate.serve()
    generate.edit(suspend=True)
    generate.reconcile()
    assert {kind for kind, _ in generate.children} == {"ConfigMap", "Service", "PodDisruptionBudget"}
    generate.pods = []
    generate.reconcile()
    assert generate.condition("Ready")["reason"] == "Suspended"
    assert generate.condition("Stalled")["status"] == "False"
    assert generate.owner["status"]["resolved"]["model"]["source"] == "oci://models/smollm2"
    generate.edit(suspend=False)
    generate.reconcile()
    assert generate.deployment()["spec"]["replicas"] == 1, "without another inspection"


def test_a_service_that_is_suspended_while_its_model_is_read_reads_no_further(generate: Any) -> None:
    generate.reconcile()
    generate.edit(suspend=True)
    generate.reconcile()
    assert "Job" not in {kind for kind, _ in generate.children}
    assert generate.condition("Reconciling")["status"] == "True"
    generate.reconcile()
    assert generate.condition("Reconciling")["status"] == "False"
    generate.edit(suspend=False)
    generate.reconcile()
    assert "Job" in {kind for kind, _ in generate.children}


def test_an_invalid_spec_is_told_and_disturbs_nothing(generate: Any) -> None:
    generate.serve()
    before = dict(generate.children)
    generate.edit(task="Chat")
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "InvalidSpec"
    assert generate.children == before
    assert generate.owner["status"]["resolved"]["servedName"] == "court"


def test_events_tell_of_problems_and_their_end_only(generate: Any) -> None:
    generate.serve()
    assert generate.events == []
    generate.edit(engine={"maxModelLen": 10_000_000})
    generate.reconcile()
    generate.reconcile()
    assert generate.events == ["DoesNotFit"]
    generate.edit(engine=None)
    generate.reconcile()
    generate.reconcile()
    assert generate.events == ["DoesNotFit", "Serving"]
