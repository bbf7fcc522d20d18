"""What the operator says of itself to Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hearth.kube.cache import WatchCache
from hearth.kube.queue import QueueState

RECONCILE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry per process or test, never the library's global one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._seconds = Histogram(
            "hearth_reconcile_seconds",
            "Time of one pass over one resource.",
            ["kind"],
            buckets=RECONCILE_BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            "hearth_reconcile_errors_total", "Passes that failed.", ["kind", "error"], registry=self.registry
        )
        self._skipped = Counter(
            "hearth_writes_skipped_total",
            "Applies that were not sent because the live object already was as desired.",
            ["kind"],
            registry=self.registry,
        )
        self._requests = Counter(
            "hearth_api_requests_total",
            "Requests to the Kubernetes API; code 0 means that no answer came.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "hearth_api_request_seconds",
            "Time to the answer of a request, or to the head of a watch.",
            ["verb"],
            buckets=RECONCILE_BUCKETS,
            registry=self.registry,
        )

    def reconciled(self, kind: str, seconds: float, error: Exception | None) -> None:
        """One pass ended."""
        self._seconds.labels(kind).observe(seconds)
        if error is not None:
            self._errors.labels(kind, type(error).__name__).inc()

    def skipped_writes(self, kind: str, count: int) -> None:
        """Children that needed no write."""
        if count:
            self._skipped.labels(kind).inc(count)

    def count_request(self, *, verb: str, resource: str, code: int, seconds: float) -> None:
        """A `hearth.kube.transport.Counter`."""
        self._requests.labels(verb, resource, str(code)).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def show(self, queue: Callable[[], QueueState], is_leader: Callable[[], bool], cache: WatchCache) -> None:
        """Adds the figures that are read at the moment of a scrape."""
        self.registry.register(_Live(queue, is_leader, cache))


class _Live(Collector):
    def __init__(self, queue: Callable[[], QueueState], is_leader: Callable[[], bool], cache: WatchCache) -> None:
        self._queue = queue
        self._is_leader = is_leader
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client at every scrape."""
        state = self._queue()
        yield GaugeMetricFamily("hearth_queue_depth", "Keys that wait for a worker.", value=state.depth)
        yield GaugeMetricFamily("hearth_queue_delayed", "Keys whose time has not come.", value=state.waiting)
        yield GaugeMetricFamily("hearth_queue_in_work", "Keys that are worked on.", value=state.in_work)
        yield GaugeMetricFamily(
            "hearth_queue_oldest_seconds", "How long the oldest waiting key has been due.", value=state.oldest_age
        )
        yield GaugeMetricFamily("hearth_leader", "1 on the replica that works.", value=float(self._is_leader()))
        yield GaugeMetricFamily("hearth_cached_objects", "Objects in the watch cache.", value=len(self._cache.store))
        taken = CounterMetricFamily(
            "hearth_objects_seen",
            "Objects that watches, lists and own writes told of; unchanged ones wake nobody.",
            labels=["kind", "change"],
        )
        for (kind, change), count in self._cache.changes.items():
            taken.add_metric([kind, change.value], count)
        yield taken
