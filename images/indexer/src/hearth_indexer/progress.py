"""Tells the operator how far the run is: the KUBEFLOW_TRAINER_SERVER_URL contract that transformers speaks too.

A message that cannot be delivered is dropped: the outcome travels in the termination message.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Least seconds between two messages."""


class Progress:
    """Pushes progress; silent where no endpoint is configured."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._url = environment.get("KUBEFLOW_TRAINER_SERVER_URL", "")
        self._token_file = environment.get("KUBEFLOW_TRAINER_SERVER_TOKEN", "")
        self._authority = environment.get("KUBEFLOW_TRAINER_SERVER_CA_CERT", "")
        self._last = 0.0

    def tell(self, documents: int, chunks: int, done: int, *, now: bool = False) -> None:
        """Says how many documents and chunks there are and how many chunks are in; `now` ignores the interval."""
        if not self._url or (not now and time.monotonic() - self._last < INTERVAL):
            return
        self._last = time.monotonic()
        status = {
            "progressPercentage": 100 * done // chunks if chunks else 0,
            "metrics": [
                {"name": "documents", "value": str(documents)},
                {"name": "chunks", "value": str(chunks)},
                {"name": "embedded", "value": str(done)},
            ],
            "lastUpdatedTime": datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z"),
        }
        try:
            token = Path(self._token_file).read_text(encoding="utf-8").strip()
            trust = ssl.create_default_context(cafile=self._authority or None)
            httpx.post(
                self._url, json={"trainerStatus": status}, headers={"authorization": f"Bearer {token}"},
                verify=trust, timeout=5,
            ).raise_for_status()  # fmt: skip
        except (httpx.HTTPError, OSError) as error:
            log.warning("progress was not delivered: %s", error)
