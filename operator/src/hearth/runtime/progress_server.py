"""Receives the progress of training and indexing pods: the KUBEFLOW_TRAINER_SERVER_URL contract over HTTPS.

A pod proves who it is with a service-account token made for this audience alone; the token names the pod, and only a
pod that the resource in the URL controls may speak for it. Messages are a nicety: results travel in pod status.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.cache import WatchCache
from hearth.kube.errors import ApiError, ConnectionFailedError
from hearth.kube.resources import TOKEN_REVIEW
from hearth.plan.conditions import rfc3339
from hearth.plan.world import ObjectKey

log = logging.getLogger(__name__)

AUDIENCE = "hearth-progress"
WAKE_SECONDS = 10.0
"""A resource looks at its progress at most this often."""
REVIEW_LASTS = 60.0
"""Seconds for which a reviewed token is not reviewed again."""
BODY_LIMIT = 16 * 1024
REVIEWS_KEPT = 1000
LONGEST_ESTIMATE = 10**9
"""Seconds: thirty years, beyond which an estimate is a mistake."""

_POD_UID = "authentication.kubernetes.io/pod-uid"


class _Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore")


COUNTS = frozenset({"step", "total_steps", "checkpoint_step", "documents", "chunks", "embedded"})
"""Figures that statuses hold as whole numbers."""
NUMBERS = frozenset({"epoch", "loss", "tokens_per_second"})
"""Figures that statuses hold as decimal numbers in text; a loss may well be nan."""
_COUNT = re.compile(r"[0-9]{1,15}")


class Metric(_Message):
    """One named figure, as text. Names that no status speaks of may have any value."""

    name: str = Field(max_length=64)
    value: str = Field(max_length=64)

    @model_validator(mode="after")
    def _is_a_figure(self) -> Self:
        if self.name in COUNTS and not _COUNT.fullmatch(self.value):
            raise ValueError(f"{self.name} is {self.value!r}; expected a whole number of at most 15 digits")
        if self.name in NUMBERS and not _is_number(self.value):
            raise ValueError(f"{self.name} is {self.value!r}; expected a number such as 0.0312")
        return self


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class TrainerStatus(_Message):
    """How far a pod has come."""

    progress_percentage: int | None = Field(default=None, ge=0, le=100)
    estimated_remaining_seconds: int | None = Field(default=None, ge=0, le=LONGEST_ESTIMATE)
    metrics: list[Metric] = Field(default_factory=list, max_length=64)


class ProgressMessage(_Message):
    """The body of a POST."""

    trainer_status: TrainerStatus


@dataclass(frozen=True, slots=True)
class _Review:
    pod_uid: str | None
    until: float


class ProgressServer:
    """Serves `POST /v1/progress/<namespace>/<plural>/<name>`."""

    def __init__(
        self,
        api: Api,
        cache: WatchCache,
        wake: Callable[[ObjectKey, float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._cache = cache
        self._wake = wake
        self._clock = clock
        self._kinds = {kind.plural: kind.kind for kind in cache.kinds.values()}
        self._reviews: dict[str, _Review] = {}
        self._woken_at: dict[ObjectKey, float] = {}
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """Starts to listen."""
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_post("/v1/progress/{namespace}/{plural}/{name}", self.receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()

    async def stop(self) -> None:
        """Stops to listen."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def receive(self, request: web.Request) -> web.Response:
        """Takes one message in."""
        kind = self._kinds.get(request.match_info["plural"])
        if kind is None:
            return _refusal(404, f"no such resource; expected one of {', '.join(sorted(self._kinds))}")
        key = ObjectKey(kind, request.match_info["namespace"], request.match_info["name"])
        token = _bearer(request.headers.get("Authorization", ""))
        claimed = claimed_pod(token)
        if claimed is None:
            return _refusal(401, f"expected a bearer token of a pod for the audience {AUDIENCE}")
        if not self._speaks_for(claimed, key):
            # Before the review: whoever sends just anything makes the API server no work.
            return _refusal(403, f"the pod is not one of {kind} {key.namespace}/{key.name}")
        try:
            pod_uid = await self._reviewed(token)
        except (ApiError, ConnectionFailedError) as error:
            log.warning("a progress token could not be reviewed: %s", error, extra={"object": key})
            return _refusal(503, "the token could not be reviewed; try again later")
        if pod_uid != claimed:
            return _refusal(401, f"expected a bearer token of a pod for the audience {AUDIENCE}, and one that is good")
        try:
            message = ProgressMessage.model_validate_json(await request.read())
        except ValidationError as error:
            return _refusal(400, "; ".join(f"{_path(e['loc'])}: {e['msg']}" for e in error.errors()))
        self._take(key, message.trainer_status)
        return web.Response(status=204)

    def _take(self, key: ObjectKey, status: TrainerStatus) -> None:
        told: Json = {
            "receivedAt": rfc3339(datetime.now(UTC)),
            "percentage": status.progress_percentage,
            "etaSeconds": status.estimated_remaining_seconds,
            "metrics": {metric.name: metric.value for metric in status.metrics},
        }
        self._cache.set_progress(key, {name: value for name, value in told.items() if value is not None})
        now = self._clock()
        self._woken_at = {k: at for k, at in self._woken_at.items() if at > now - WAKE_SECONDS}
        last = self._woken_at.get(key, now - WAKE_SECONDS)
        if last <= now:
            # Otherwise a wake-up is on its way already.
            self._woken_at[key] = max(now, last + WAKE_SECONDS)
            self._wake(key, self._woken_at[key] - now)

    def _speaks_for(self, pod_uid: str, key: ObjectKey) -> bool:
        pod = self._cache.store.key_of_uid(pod_uid)
        return pod is not None and pod.kind == "Pod" and self._cache.owner_of(pod) == key

    async def _reviewed(self, token: str) -> str | None:
        """The uid of the pod that the API server says the token was made for; None where the token is not good."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._reviews.get(digest)
        if known is not None and known.until > self._clock():
            return known.pod_uid
        pod_uid = _reviewed_pod(await self._api.create(TOKEN_REVIEW, _review_of(token)))
        if len(self._reviews) >= REVIEWS_KEPT:
            self._reviews.clear()
        self._reviews[digest] = _Review(pod_uid, self._clock() + REVIEW_LASTS)
        return pod_uid


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""


def claimed_pod(token: str) -> str | None:
    """The uid of the pod that a token claims to be of, without a look at its signature; None where it claims none.

    A bound service-account token names its pod in the claim `kubernetes.io` (KEP-1205).
    """
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["kubernetes.io"]["pod"]["uid"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _review_of(token: str) -> Json:
    return {
        "apiVersion": TOKEN_REVIEW.api_version,
        "kind": TOKEN_REVIEW.kind,
        "metadata": {},
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }


def _reviewed_pod(review: Json) -> str | None:
    status = review.get("status") or {}
    if not status.get("authenticated") or AUDIENCE not in (status.get("audiences") or ()):
        return None
    uids = ((status.get("user") or {}).get("extra") or {}).get(_POD_UID) or ()
    return str(uids[0]) if uids else None


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "body"
