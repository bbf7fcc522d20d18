"""Tells the operator how far training is, in the message of Kubeflow Trainer's TrainJobStatus.

Source: transformers.integrations.KubeflowCallback and kubeflow/trainer docs/user-guides/trainjob-progress. A message
that is lost loses nothing: the outcome travels in the termination log. transformers' own callback is switched off,
because it reports 100 percent whenever training stops, interrupted or not.
"""

from __future__ import annotations

import logging
import os
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 3.0


class Reporter:
    """Posts the newest message from a thread of its own, so that a slow operator never holds training up."""

    def __init__(self, url: str, token: Path, authority: Path | None) -> None:
        context = ssl.create_default_context(cafile=str(authority)) if authority else True
        self._client = httpx.Client(verify=context, timeout=5)
        self._url, self._token = url, token
        self._newest: dict[str, Any] | None = None
        self._wake, self._closed = threading.Event(), threading.Event()
        self._failed_before = False
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def tell(self, percentage: int, remaining_seconds: int | None, figures: dict[str, float | int | str]) -> None:
        """Hands a message over; an older one that was not posted yet is dropped."""
        status: dict[str, Any] = {
            "progressPercentage": percentage,
            "metrics": [{"name": name, "value": str(value)} for name, value in figures.items()],
            "lastUpdatedTime": datetime.now(UTC).isoformat(),
        }
        if remaining_seconds is not None:
            status["estimatedRemainingSeconds"] = remaining_seconds
        self._newest = {"trainerStatus": status}
        self._wake.set()

    def close(self) -> None:
        """Posts what is left, waiting no longer than one request may take."""
        self._closed.set()
        self._wake.set()
        self._thread.join(timeout=6)

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._wake.clear()
            message, self._newest = self._newest, None
            if message is not None:
                self._post(message)
            self._closed.wait(INTERVAL_SECONDS)
        if self._newest is not None:
            self._post(self._newest)

    def _post(self, message: dict[str, Any]) -> None:
        try:
            # The kubelet renews the token's file; read it anew each time.
            headers = {"Authorization": f"Bearer {self._token.read_text(encoding='utf-8').strip()}"}
            self._client.post(self._url, json=message, headers=headers).raise_for_status()
            self._failed_before = False
        except (httpx.HTTPError, OSError) as error:
            if not self._failed_before:
                log.warning("progress is not told to %s: %s", self._url, error)
            self._failed_before = True


def reporter_from_environment() -> Reporter | None:
    """The reporter that the operator's variables describe, or None where they are not set."""
    url = os.environ.get("KUBEFLOW_TRAINER_SERVER_URL")
    token = os.environ.get("KUBEFLOW_TRAINER_SERVER_TOKEN")
    if not url or not token:
        return None
    authority = os.environ.get("KUBEFLOW_TRAINER_SERVER_CA_CERT")
    try:
        return Reporter(url, Path(token), Path(authority) if authority else None)
    except (OSError, ssl.SSLError) as error:
        log.warning("progress will not be told: %s: %s", authority, error)
        return None
