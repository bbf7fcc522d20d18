"""FineTuneJob: from a spec and what is there to a checked data set, a training Job and a judged artifact."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from hearth.api.base import Json, seconds
from hearth.api.finetunejob import KIND, FineTuneJobSpec
from hearth.api.finetunejob_status import ResolvedDataset, ResolvedTraining
from hearth.api.model_facts import ResolvedModel
from hearth.api.shapes import Accelerator
from hearth.plan import job_state
from hearth.plan.conditions import Condition, merge, rfc3339
from hearth.plan.fine_tune_reference import fine_tune_key, volumes_of
from hearth.plan.finetunejob_status import MILESTONES, Outcome, compose_status, progress_of
from hearth.plan.job_config import as_it_is, as_read_by
from hearth.plan.pod_delay import NEVER_STARTED, stop_delay
from hearth.plan.quiet import settle, while_pods_are_new
from hearth.plan.repeated import failure_on_record, progress_since, time_to_prove
from hearth.plan.training_again import outdated, why_again
from hearth.plan.training_choice import Recorded, TrainingChoice, choose, sequence_length
from hearth.plan.training_data import RETRY_AFTER, DataState, prepare_identity, resolve_data, sources, stale_jobs
from hearth.plan.training_memory import ON_CPU
from hearth.plan.training_outcome import ending, exported, failed, succeeded, unavailable
from hearth.plan.training_run import RunState, observe_run
from hearth.plan.training_volume import (
    apply_claim,
    cannot_grow,
    claim_key,
    growing,
    missing_class,
    not_taken,
    volume_size,
)
from hearth.plan.transition import ready_event
from hearth.plan.validation import Invalid, parse
from hearth.plan.world import Action, Apply, Delete, KindPlan, ObjectKey, Plan, World, key_of
from hearth.render.inspection import INSPECTION
from hearth.render.names import digest8
from hearth.render.scripts import script
from hearth.render.sources import UnsupportedUriError
from hearth.render.trainer_config import prepare_config, train_config
from hearth.render.training_job import (
    PREPARE,
    TRAIN,
    TrainingPod,
    config_map,
    prepare_name,
    train_job,
    train_name,
)


@dataclass(frozen=True, slots=True)
class Start:
    """Everything that is known once model, rows and memory plan are."""

    spec: FineTuneJobSpec
    data: DataState
    model: ResolvedModel
    dataset: ResolvedDataset
    choice: TrainingChoice
    identity: Json
    """What the artifact depends on."""

    @property
    def run(self) -> str:
        """Names the checkpoints' folder."""
        return digest8(self.identity)


def needs(owner: Json) -> frozenset[ObjectKey]:
    """ConfigMaps and claims of the sources, and the job's own claim."""
    spec = parse(FineTuneJobSpec, owner.get("spec", {}))
    if isinstance(spec, Invalid):
        return frozenset()
    return frozenset({*sources(owner, spec), claim_key(owner)})


def refers_to(owner: Json) -> frozenset[ObjectKey]:
    """Another FineTuneJob whose artifact this one starts from, named by its claim, until this one has succeeded."""
    spec = parse(FineTuneJobSpec, owner.get("spec", {}))
    if isinstance(spec, Invalid) or (owner.get("status") or {}).get("phase") == "Succeeded":
        return frozenset()
    return frozenset(volumes_of(owner, [spec.model.uri]) - {fine_tune_key(owner, owner["metadata"]["name"])})


def plan(world: World, now: datetime) -> Plan:
    """What to write for this job in this world."""
    spec = parse(FineTuneJobSpec, world.owner.get("spec", {}))
    if _is_over(world):
        return _kept(world, spec, now)
    if isinstance(spec, Invalid):
        return _told(world, Outcome("InvalidSpec", spec.message, stalled=True), now)
    if spec.suspend:
        return _end_of_run(world, spec, now) or _suspended(world, now)
    data = resolve_data(world, spec, now)
    if data.model is None or data.dataset is None:
        return _without_data(world, spec, data, now)
    choice = choose(spec, data.model, data.dataset, world.nodes, _recorded_choice(world))
    if choice.refusal is not None:
        return _refused(world, data, choice, choice.refusal, now)
    waiting = missing_class(world, spec)
    if waiting is not None:
        return _told(world, replace(waiting, own=(data.condition, *waiting.own), data=data), now, data.actions)
    start = Start(spec, data, data.model, data.dataset, choice, _identity(spec, data.model, data.dataset))
    return _training(world, start, now)


def _told(
    world: World,
    outcome: Outcome,
    now: datetime,
    actions: tuple[Action, ...] = (),
    *,
    look_again: timedelta | None = None,
    status_first: bool = False,
) -> Plan:
    """A plan that writes the outcome's status, with an Event about a problem, its end, or the end of the job."""
    status = compose_status(world, outcome, now)
    events = ready_event(world.owner.get("status", {}), status, ends=True)
    made = Plan(status, actions, events, look_again, status_first)
    return made if status_first else settle(made, world, now, while_pods_are_new(world))


def _is_over(world: World) -> bool:
    """Whether the job has ended. What has published artifacts stays as it is, whatever its gate said; what failed
    before is taken up again by a change of its spec, unless that suspends it: nothing runs.
    """
    status, meta = world.owner.get("status", {}), world.owner["metadata"]
    if "completionTime" not in status:
        return False
    if "artifacts" in status or world.owner.get("spec", {}).get("suspend"):
        return True
    return bool(status.get("observedGeneration") == meta.get("generation"))


def _kept(world: World, spec: FineTuneJobSpec | Invalid, now: datetime) -> Plan:
    """The end of a job stays on record, whatever becomes of its pods; only the claim's ownership is kept right.

    A training Job that goes on all the same was to be deleted in the pass that recorded the end.
    """
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation", 0)
    before = live.get("conditions", [])
    milestones = [{**c, "observedGeneration": generation} for c in before if c["type"] in MILESTONES]
    for published in (c for c in milestones if c["type"] == "Exported" and "artifacts" in live):
        published["message"] = exported(world.owner, live["artifacts"])
    conditions = [*merge(before, ending(live), generation, now), *milestones]
    status = {**live, "observedGeneration": generation, "conditions": conditions}
    actions: tuple[Action, ...] = tuple(
        d for d in stale_jobs(world, TRAIN, None) if not job_state.ended(world.child(d.key.kind, d.key.name))
    )
    if not isinstance(spec, Invalid) and world.related.get(claim_key(world.owner)) is not None:
        actions = (*actions, apply_claim(world, spec, None))
    return Plan(status, actions)


def _end_of_run(world: World, spec: FineTuneJobSpec, now: datetime) -> Plan | None:
    """A training that ended, and was suspended before anybody put that on record; None where none has.

    What it found is in its Job and pods, which suspension deletes.
    """
    data, recorded = resolve_data(world, spec, now), _recorded_choice(world)
    if data.model is None or data.dataset is None or recorded is None:
        return None
    choice = choose(spec, data.model, data.dataset, world.nodes, recorded)
    start = Start(spec, data, data.model, data.dataset, choice, _identity(spec, data.model, data.dataset))
    name = train_name(world.owner, start.identity)
    job, run = world.child("Job", name), observe_run(world, spec, choice, name, now)
    final = run.phase == "Succeeded" or (run.phase == "Failed" and not run.retryable)
    if job is None or not final or (run.phase == "Failed" and outdated(job, spec, run.reason)):
        return None
    return _training(world, start, now)


def _suspended(world: World, now: datetime) -> Plan:
    """The pods go, after a checkpoint; the volume and everything on record stay."""
    actions = (*stale_jobs(world, PREPARE, None), *stale_jobs(world, TRAIN, None))
    running = [p for p in world.pods if p.get("status", {}).get("phase") == "Running"]
    message = "suspended: the training pod writes a checkpoint and stops" if running else "suspended: no pod runs"
    delay = stop_delay(world.pods, now)
    if delay.trouble is not None:
        message = f"suspended: {delay.trouble.message}"
    step = world.owner.get("status", {}).get("checkpoint", {}).get("step")
    if step is not None and not running:
        message = f"{message}; training resumes after step {step}"
    own = (Condition("Training", "False", "Suspended", message),)
    extra = progress_of(world)
    outcome = Outcome("Suspended", message, own, suspended=True, extra=extra)
    return _told(world, outcome, now, actions, look_again=delay.look_again)


def _without_data(world: World, spec: FineTuneJobSpec, data: DataState, now: datetime) -> Plan:
    """Model or rows are not known (yet), or cannot be used."""
    outcome = Outcome(
        reason=data.condition.reason,
        message=data.condition.message,
        own=(data.condition,),
        stalled=data.stalled,
        retryable=data.retryable,
        suggestion=data.suggestion,
        waiting_on=data.waiting_on,
        drop=("completionTime",),
    )
    actions: tuple[Action, ...] = data.actions
    with suppress(UnsupportedUriError):  # the condition says so
        actions = (Apply(_config(world, spec, None)), *data.actions)
    return _told(world, outcome, now, actions, look_again=data.look_again)


def _refused(world: World, data: DataState, choice: TrainingChoice, why: tuple[str, str], now: datetime) -> Plan:
    """No training pod is asked for that could not finish."""
    message = f"{why[0]}; {why[1]}"
    outcome = Outcome(
        reason="DoesNotFit",
        message=message,
        own=(data.condition, Condition("Admitted", "False", "DoesNotFit", message)),
        stalled=True,
        suggestion=why[1],
        data=data,
        choice=choice,
        drop=("completionTime",),
    )
    return _told(world, outcome, now, data.actions)


def _recorded_choice(world: World) -> Recorded | None:
    status = world.owner.get("status", {})
    if "startTime" not in status:
        return None
    resolved = status.get("resolved", {})
    try:
        training = ResolvedTraining.model_validate(resolved.get("training"))
        accelerator = Accelerator.model_validate(resolved["accelerator"]) if "accelerator" in resolved else None
    except ValidationError:
        return None
    return Recorded(training, accelerator)


def _identity(spec: FineTuneJobSpec, model: ResolvedModel, dataset: ResolvedDataset) -> Json:
    written = spec.model_dump(by_alias=True, exclude_none=True, include={"objective", "method", "adapter", "training"})
    return {**written, "model": model.digest, "rows": dataset.digest}


def _config(world: World, spec: FineTuneJobSpec, start: Start | None) -> Json:
    configs = {"prepare.json": prepare_config(spec, sequence_length(spec, None))}
    if start is not None:
        lineage = {"image": world.settings.images.trainer, "specHash": start.run}
        configs["train.json"] = train_config(
            spec,
            start.choice.training,
            device=start.choice.device,
            model_digest=start.model.digest,
            revision=start.model.revision,
            data_digest=start.dataset.digest,
            run=start.run,
            lineage=lineage,
        )
    scripts = {name: script(name) for name in INSPECTION}
    wanted = config_map(world.owner, configs, world.settings.progress_ca, scripts)
    ours = world.settings.images.trainer
    checking = world.child("Job", prepare_name(world.owner, prepare_identity(world, spec)))
    wanted = as_read_by(world, checking, wanted, ("prepare.json", *scripts), ours)
    if start is None:
        return wanted
    if "startTime" in world.owner.get("status", {}):
        # The digest on record is this program's, and training compares with it. Another version may give another one.
        wanted = as_it_is(world, wanted, tuple(scripts))
    training = world.child("Job", train_name(world.owner, start.identity))
    return as_read_by(world, training, wanted, ("train.json",), ours)


def _training(world: World, start: Start, now: datetime) -> Plan:
    name = train_name(world.owner, start.identity)
    run = observe_run(world, start.spec, start.choice, name, now)
    # What has ended needs no more room.
    size = None if run.phase == "Succeeded" else volume_size(start.spec, start.model, start.choice)
    standing: tuple[Action, ...] = (
        Apply(_config(world, start.spec, start)),
        apply_claim(world, start.spec, size),
        *stale_jobs(world, TRAIN, name),
        *start.data.actions,
    )
    live = world.child("Job", name)
    if run.phase == "Succeeded":
        return _told(world, succeeded(world, start.data, start.choice, run, start.run), now, standing)
    late = _deadline(world, start.spec, run, now)
    if late is not None and late <= timedelta(0):
        over = RunState("Failed", "DeadlineExceeded", "budget.deadline has passed", suggestion="raise budget.deadline")
        return _ended(world, start, over, (*standing, *_removal(live)), now)
    if live is not None and run.phase != "Leaving" and (run.phase == "Lost" or outdated(live, start.spec, run.reason)):
        return _anew(world, start, run, live, standing, now)
    if run.phase == "Failed" and run.retryable and live is not None:
        return _waited_out(world, start, run, live, standing, late, now)
    if run.phase == "Failed":
        return _ended(world, start, run, (*standing, *(_removal(live) if run.reason == "OOMKilled" else ())), now)
    return _going_on(world, start, run, standing, late, now)


def _ended(world: World, start: Start, run: RunState, actions: tuple[Action, ...], now: datetime) -> Plan:
    """A bad end is on record before the Job goes that it was read from: without it, it would be trained again."""
    return _told(world, failed(start.data, start.choice, run, now), now, actions, status_first=True)


def _anew(world: World, start: Start, run: RunState, live: Json, standing: tuple[Action, ...], now: datetime) -> Plan:
    why = run.message if run.phase == "Lost" else why_again(run.reason)
    again = replace(run, phase="Leaving", reason="Restarting", message=why)
    return _told(world, _under_way(world, start, again), now, (*standing, *_removal(live)))


def _waited_out(
    world: World,
    start: Start,
    run: RunState,
    live: Json,
    standing: tuple[Action, ...],
    late: timedelta | None,
    now: datetime,
) -> Plan:
    """What was lacking is outside of the job: it is tried again, as the check of the rows is, until its deadline."""
    left = (run.at or now) + RETRY_AFTER - now
    failed = unavailable(start.data, start.choice, run)
    if left <= timedelta(0):
        return _told(world, failed, now, (*standing, *_removal(live)))
    return _told(world, failed, now, standing, look_again=left if late is None else min(left, late))


def _removal(job: Json | None) -> tuple[Action, ...]:
    if job is None or "deletionTimestamp" in job["metadata"]:
        return ()
    return (Delete(key_of(job), job["metadata"]["uid"], "Foreground"),)


def _deadline(world: World, spec: FineTuneJobSpec, run: RunState, now: datetime) -> timedelta | None:
    """The time that is left, which runs from the first pod that ran: a queue's time is nobody's budget."""
    if spec.budget is None or spec.budget.deadline is None:
        return None
    recorded = world.owner.get("status", {}).get("trainingStartTime")
    begun = datetime.fromisoformat(recorded) if recorded else run.began
    return None if begun is None else begun + timedelta(seconds=seconds(spec.budget.deadline)) - now


def _going_on(
    world: World, start: Start, run: RunState, standing: tuple[Action, ...], late: timedelta | None, now: datetime
) -> Plan:
    first = "startTime" not in world.owner.get("status", {})
    stays = cannot_grow(world, start.spec)
    if stays is not None and run.phase == "Absent":
        return _too_small(world, start, run, stays, standing, now)
    grows = growing(world) if run.phase == "Absent" else None
    if grows is not None:
        run = replace(run, phase="Waiting", reason="VolumeGrowing", message=grows)
    outcome, proven = _unless_failing(world, start, run, _under_way(world, start, run), now)
    if first:
        outcome = replace(outcome, extra={**outcome.extra, "startTime": rfc3339(now)})
    actions = standing
    if run.phase == "Absent":
        actions = (*standing, Apply(_job(world, start)))
    waits = [t for t in (late, run.look_again, proven) if t is not None]
    return _told(world, outcome, now, actions, look_again=min(waits, default=None), status_first=first)


def _unless_failing(
    world: World, start: Start, run: RunState, outcome: Outcome, now: datetime
) -> tuple[Outcome, timedelta | None]:
    """The outcome, or the failure on record while a run that tries again is not seen to train; and when that ends."""
    failure = failure_on_record(world, "Training")
    if failure is None or outcome.reason not in UNPROVEN:
        return outcome, None
    pods = job_state.pods_of(world, train_name(world.owner, start.identity))
    left = time_to_prove(pods, RETRY_AFTER, now)
    if run.phase == "Running" and (progress_since(world, pods) or (left is not None and left <= timedelta(0))):
        return outcome, None
    own = (start.data.condition, Condition("Training", "False", failure["class"], failure["message"]))
    told = Outcome(
        reason=failure["class"],
        message=failure["message"],
        own=own,
        stalled=True,
        retryable=True,
        suggestion=failure.get("suggestion", ""),
        data=start.data,
        choice=start.choice,
        run=run,
        drop=("completionTime",),
    )
    return told, left if run.phase == "Running" else None


UNPROVEN = ("NotStarted", "Stopping", "Starting", "Resuming", "Training")
"""What a run tells that may yet fail as the last one did."""


def _too_small(
    world: World, start: Start, run: RunState, why: str, standing: tuple[Action, ...], now: datetime
) -> Plan:
    """No pod is made for a volume that is smaller than what the spec asks for."""
    own = (start.data.condition, Condition("Admitted", "False", "VolumeCannotGrow", why))
    outcome = Outcome(
        reason="VolumeCannotGrow",
        message=why,
        own=own,
        stalled=True,
        retryable=True,
        data=start.data,
        choice=start.choice,
        run=run,
        drop=("completionTime",),
    )
    return _told(world, outcome, now, standing)


def _job(world: World, start: Start) -> Json:
    pod = TrainingPod(
        image=world.settings.images.trainer,
        accelerator=start.choice.required,
        memory_request=start.choice.memory_request,
        memory_limit=start.choice.memory_limit,
        progress_url=world.settings.progress_url,
    )
    return train_job(world.owner, start.spec, train_name(world.owner, start.identity), pod)


def _under_way(world: World, start: Start, run: RunState) -> Outcome:
    """A run that has not ended: what it does, or what it waits for."""
    reason, message, stuck = run.reason, run.message, run.reason in NEVER_STARTED
    if start.choice.no_node is not None and run.phase in ("Absent", "Waiting"):
        reason, message, stuck = "Unschedulable", start.choice.no_node, True
    if reason == "Unschedulable" and start.choice.device == "GPU" and "accelerator.count: 0" not in message:
        message = f"{message}; wait for a GPU, or set {ON_CPU}"
    notes = [n for n in (cannot_grow(world, start.spec), not_taken(world, start.spec)) if n is not None]
    admitted = Condition("Admitted", "True", "Admitted", "; ".join(["the training pod may run", *notes]))
    if reason in ("Unschedulable", "Queued", "PodsNotCreated"):
        admitted = Condition("Admitted", "False", reason, message)
    going = run.phase == "Running"
    training = Condition("Training", "True" if going else "False", reason, message)
    waiting = () if going or stuck else (message,)
    return Outcome(
        reason="Training" if going else reason,
        message=message,
        own=(start.data.condition, admitted, training),
        stalled=stuck,
        retryable=stuck,
        waiting_on=waiting,
        data=start.data,
        choice=start.choice,
        run=run,
        extra=progress_of(world) if going else {},
        drop=("completionTime",),
    )


KIND_PLAN = KindPlan(kind=KIND.kind, plural=KIND.plural, needs=needs, refers_to=refers_to, plan=plan)
