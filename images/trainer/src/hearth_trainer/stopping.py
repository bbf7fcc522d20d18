"""SIGTERM: the pod has to go. While training it is served at the next step; otherwise at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hearth_trainer.errors import InterruptedRunError


class StopRequest:
    """Whether somebody asked the process to end. Process 1 of a container ignores SIGTERM unless it has a handler."""

    def __init__(self) -> None:
        self.requested = False
        self._at_once = True

    def install(self) -> None:
        """Takes SIGTERM over."""
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if self._at_once:
            self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a request is only remembered: whoever works there looks at `requested` between two steps."""
        self._at_once = False
        try:
            yield
        finally:
            self._at_once = True

    def check(self) -> None:
        """Raises InterruptedRunError where the end was asked for."""
        if self.requested:
            raise InterruptedRunError("Interrupted", "asked to stop; nothing was published, a new pod resumes")
