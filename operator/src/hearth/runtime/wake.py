"""From a change in the cache to a key in the queue."""

from __future__ import annotations

from hearth.kube.queue import WorkQueue
from hearth.plan.world import ObjectKey
from hearth.runtime.workers import SURROUNDINGS_DELAY


class Waker:
    """A `hearth.kube.cache.Wake`."""

    def __init__(self, queue: WorkQueue, delay: float = SURROUNDINGS_DELAY) -> None:
        self._queue = queue
        self._delay = delay

    def __call__(self, key: ObjectKey, spec_is_new: bool) -> None:
        """A new spec is looked at without delay and without regard to past failures, anything else a moment later."""
        if spec_is_new:
            self._queue.forget(key)
            self._queue.add(key)
        else:
            self._queue.add_soon(key, self._delay)
