"""The whole status of a VectorIndex, from the outcome of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hearth.api.base import Json, decimal
from hearth.api.vectorindex import VectorIndexSpec
from hearth.plan.conditions import Condition, merge, ready, reconciling, rfc3339, stalled
from hearth.plan.index_build import BuildState
from hearth.plan.index_engine import EngineState
from hearth.plan.index_inputs import SourcesState
from hearth.plan.index_match import match_condition
from hearth.plan.status_parts import failure, pending
from hearth.plan.transition import ready_event
from hearth.plan.world import Event, World
from hearth.render.indexer_job import DEFAULT_RECALL

FACTS = (
    "documents", "chunks", "skipped", "skippedCount", "embeddedNow", "embeddings", "recall", "index", "capabilities",
)  # fmt: skip
"""What describes the build that serves: kept until another one does."""

PROGRESS_INTERVAL = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Summary:
    """Ready, Reconciling and Stalled, and what goes with them."""

    conditions: tuple[Condition, ...]
    failure: Json
    waiting_on: tuple[str, ...] = ()


def compose_status(
    world: World, spec: VectorIndexSpec, engine: EngineState, sources: SourcesState, build: BuildState, now: datetime
) -> Json:
    """The status to be on record."""
    live, generation = world.owner.get("status", {}), world.owner["metadata"].get("generation", 0)
    status: Json = {key: live[key] for key in FACTS if key in live}
    if build.result is not None:
        status = facts(spec, build, build.result)
    if "embeddings" in status:
        status["embeddings"] = [_as_asked(spec, e) for e in status["embeddings"]]
    status["observedGeneration"] = generation
    status["builds"] = _builds(live, build)
    resolved = _resolved(live, engine, build)
    if resolved:
        status["resolved"] = resolved
    endpoint = _endpoint(spec, live, engine, build)
    if endpoint is not None:
        status["endpoint"] = endpoint
    if engine.storage:
        status["storage"] = engine.storage
    progress = _progress(world, build)
    if progress:
        status["progress"] = progress
    summary = _summary(spec, engine, sources, build, status)
    status["phase"] = _phase(spec, summary)
    recall = recall_condition(spec, status)
    match = match_condition(world, status.get("embeddings", []))
    own = (engine.condition, sources.condition, build.condition, recall, match)
    status["conditions"] = merge(live.get("conditions", []), [*summary.conditions, *own], generation, now)
    if summary.failure:
        told = summary.failure
        status["failure"] = failure(
            told["class"], told["message"], retryable=told["retryable"], suggestion=told.get("suggestion")
        )
    if summary.waiting_on:
        status["pending"] = pending(live, summary.conditions[0].reason, summary.waiting_on, now)
    return {key: value for key, value in status.items() if value not in ({}, [])}


def facts(spec: VectorIndexSpec, build: BuildState, result: Json) -> Json:
    """What the status says of a build that has just been finished."""
    assert build.build is not None
    made = {e["name"]: e["dimension"] for e in result["embeddings"]}
    embeddings = [
        {
            "name": asked.name,
            "dimension": made[asked.name],
            "serviceRef": {"name": asked.service_ref.name},
            "model": by.model,
            "modelDigest": by.digest,
            "metric": asked.metric or "Cosine",
        }
        for asked, by in zip(spec.embeddings, build.build.embedders, strict=True)
    ]
    recall = {**result["recall"], "measured": f"{result['recall']['measured']:.4f}", "target": recall_target(spec)}
    return {
        **{key: result[key] for key in ("documents", "chunks", "skippedCount", "embeddedNow", "capabilities")},
        "skipped": _unique(result.get("skipped", [])),
        "embeddings": embeddings,
        "recall": recall,
        "index": {key: value for key, value in result["index"].items() if value not in ({}, None)},
    }


def _endpoint(spec: VectorIndexSpec, live: Json, engine: EngineState, build: BuildState) -> str | None:
    """Where the build that serves is. Another Milvus of somebody else holds none before one has been made there."""
    active = live.get("builds", {}).get("active")
    moving = spec.milvus.topology == "External" and active is not None and active != build.wanted
    if moving and build.result is None and "endpoint" in live:
        return str(live["endpoint"])
    return engine.endpoint


def _as_asked(spec: VectorIndexSpec, embedding: Json) -> Json:
    """An embedding of the build that serves, with the query prefix and key that the spec gives it now.

    No build depends on them. Where the spec has another service for it by now, they are that one's, and the old ones
    stay.
    """
    name, service = embedding["name"], embedding["serviceRef"]["name"]
    asked = next((e for e in spec.embeddings if (e.name, e.service_ref.name) == (name, service)), None)
    if asked is None:
        return embedding
    kept = {key: value for key, value in embedding.items() if key not in ("queryPrefix", "secretRef")}
    if asked.query_prefix:
        kept["queryPrefix"] = asked.query_prefix
    if asked.secret_ref is not None:
        kept["secretRef"] = {"name": asked.secret_ref.name}
    return kept


def _unique(skipped: list[Json]) -> list[Json]:
    """One entry per document, as a list keyed by uri asks for."""
    return list({s["uri"]: {"uri": s["uri"][:1024], "reason": s["reason"][:256]} for s in skipped}.values())


def recall_target(spec: VectorIndexSpec) -> str:
    """The recall that is wanted."""
    return (spec.index.recall_target if spec.index else None) or DEFAULT_RECALL


def recall_condition(spec: VectorIndexSpec, status: Json) -> Condition:
    """Whether the build that serves finds what exact search finds."""
    recall = status.get("recall")
    if recall is None:
        return Condition("RecallMet", "Unknown", "NotMeasured", "recall is measured at the end of a build")
    target = recall_target(spec)
    told = f"recall@{recall['k']} is {recall['measured']} over {recall['queries']} queries; the target is {target}"
    if decimal(recall["measured"]) >= decimal(target):
        return Condition("RecallMet", "True", "Measured", told)
    return Condition("RecallMet", "False", "BelowTarget", f"{told}: {_next_for_recall(status, target)}")


def _next_for_recall(status: Json, target: str) -> str:
    """What comes next, or what to do where every search parameter was tried."""
    if decimal(status["recall"]["target"]) != decimal(target):
        return f"search parameters were chosen for {status['recall']['target']}; the next build chooses them anew"
    if status.get("index", {}).get("type") == "FLAT":
        return "the search is exact already; lower the target"
    return "no search parameter reached it; set index.type to FLAT, or lower the target"


def _builds(live: Json, build: BuildState) -> Json:
    kept = {k: v for k, v in live.get("builds", {}).items() if k in ("active", "collection", "alias")}
    if build.result is not None and build.build is not None:
        kept = {"active": build.wanted, "collection": build.result["collection"], "alias": build.build.alias}
    elif build.building:
        kept["building"] = build.wanted
    elif build.wanted is None and "building" in live.get("builds", {}):
        kept["building"] = live["builds"]["building"]  # something else has to come first: it has still been begun
    return kept


def _resolved(live: Json, engine: EngineState, build: BuildState) -> Json:
    resolved: Json = dict(live.get("resolved", {}))
    if engine.image is not None:
        resolved["image"] = engine.image
    if build.result is not None:
        chunking = build.result["chunking"]
        resolved |= {
            "engine": build.result["engine"],
            "chunkSize": chunking["size"],
            "chunkOverlap": chunking["overlap"],
            "exactTokens": chunking["exactTokens"],
            "sparse": build.result["sparse"],
        }
    return resolved


def _progress(world: World, build: BuildState) -> Json:
    """What the indexer said last, changed at most every ten seconds."""
    if not build.building:
        return {}
    told, before = world.progress, world.owner.get("status", {}).get("progress", {})
    if told is None or not {"documents", "chunks", "embedded"} <= told.get("metrics", {}).keys():
        return dict(before)
    received = datetime.fromisoformat(told["receivedAt"])
    if before and received - datetime.fromisoformat(before["updatedAt"]) < PROGRESS_INTERVAL:
        return dict(before)
    counts = {key: int(told["metrics"][key]) for key in ("documents", "chunks", "embedded")}
    return {**counts, "percentage": told.get("percentage", 0), "updatedAt": rfc3339(received)}


def _summary(
    spec: VectorIndexSpec, engine: EngineState, sources: SourcesState, build: BuildState, status: Json
) -> Summary:
    """The first thing that is wrong, in the order in which things are needed."""
    serving = "; the last build still serves" if status.get("builds", {}).get("active") and engine.ready else ""
    if spec.suspend:
        message = "suspended: the engine is stopped, the volume stays"
        told = (Condition("Ready", "False", "Suspended", message), *reconciling("Suspended", "")[1:])
        return Summary((told[0], Condition("Reconciling", "False", "Suspended"), told[2]), {})
    for condition, is_stalled, waiting in (
        (engine.condition, engine.stalled, (engine.waiting_on,) if engine.waiting_on else ()),
        (sources.condition, False, sources.waiting_on),
        (build.condition, build.stalled, build.waiting_on),
    ):
        if condition.status != "True":
            message = f"{condition.message}{serving}"
            if not is_stalled:
                return Summary(reconciling(condition.reason, message), {}, waiting)
            failure = build.failure if condition is build.condition else {}
            failure = failure or {"class": condition.reason, "retryable": True, "message": condition.message}
            return Summary(stalled(condition.reason, message), failure, waiting)
    summary = ready("Indexed", build.condition.message)
    if engine.refusal is None:
        return Summary(summary, {})
    refused = Condition("Stalled", "True", engine.refusal.reason, engine.refusal.message)
    failure = {"class": refused.reason, "retryable": True, "message": refused.message}
    return Summary((*summary[:2], refused), failure)


def _phase(spec: VectorIndexSpec, summary: Summary) -> str:
    if spec.suspend:
        return "Suspended"
    by_type = {c.type: c.status for c in summary.conditions}
    if by_type["Ready"] == "True":
        return "Serving"
    return "Stalled" if by_type["Stalled"] == "True" else "Progressing"


def events(live: Json, status: Json) -> tuple[Event, ...]:
    """A problem, its end, a finished build; a build that follows another one; vectors that became longer or shorter."""
    told = list(ready_event(live, status, ends=True))
    old = {e["name"]: e for e in live.get("embeddings", [])}
    for embedding in status.get("embeddings", []):
        was = old.get(embedding["name"])
        if was is not None and was["dimension"] != embedding["dimension"]:
            note = (
                f"embedding {embedding['name']} now has {embedding['dimension']} dimensions ({embedding['model']}), "
                f"before {was['dimension']} ({was['model']}); every chunk was embedded anew"
            )
            told.append(Event("Normal", "DimensionChanged", note))
    first, second = (s.get("builds", {}).get("collection") for s in (live, status))
    if first is not None and second != first:
        told.append(Event("Normal", "BuildSwitched", f"readers were switched from {first} to {second}"))
    return tuple(told)
