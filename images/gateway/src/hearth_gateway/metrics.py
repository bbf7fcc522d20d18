"""What Prometheus sees of the gateway."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """One registry a process, so that tests can have several gateways."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hearth_gateway_requests", "Requests by route and HTTP status.", ["route", "status"], registry=self.registry
        )
        self.duration = Histogram(
            "hearth_gateway_request_seconds",
            "From a request's arrival to its last byte.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_byte = Histogram(
            "hearth_gateway_first_byte_seconds",
            "From a request's arrival to the engine's first byte.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge("hearth_gateway_in_flight", "Requests being worked on.", registry=self.registry)
        self.rejected = Counter(
            "hearth_gateway_rejected", "Requests turned away before the engine.", ["reason"], registry=self.registry
        )
        self.retries = Counter(
            "hearth_gateway_upstream_retries",
            "Requests to the engine that were tried again.",
            registry=self.registry,
        )
        self.retrieval = Histogram(
            "hearth_gateway_retrieval_seconds",
            "Embedding a question and searching.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.abstained = Counter(
            "hearth_gateway_abstained",
            "Questions that the documents did not answer.",
            ["reason"],
            registry=self.registry,
        )
