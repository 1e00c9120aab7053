"""Traces and metrics for OpenTelemetry, by OTLP, where its usual variables say where to: OTEL_EXPORTER_OTLP_ENDPOINT and so on.

Spans and metrics are named by its semantic conventions: HTTP servers
(https://opentelemetry.io/docs/specs/semconv/http/) and generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/).
Nothing of prompts and answers is in them.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from balancer.configuration.environment import environment
from balancer.endpoint import Endpoint
from balancer.errors import ConfigurationError
from balancer.outcome import Outcome
from balancer.runtime.tracing import CallSpan, RequestSpan, Tracing, use_tracing

__all__ = ["start_telemetry", "stop_telemetry"]

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_VARIABLES = (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
_OPERATIONS = {
    "/chat/completions": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/embeddings": "embeddings",
}
"""`gen_ai.operation.name` by path; others are named by their path."""
_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "responses": "openai",
}
"""`gen_ai.provider.name` where it isn't our name of the provider."""
_TRACE_HEADERS = (b"traceparent", b"tracestate")
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The bounds of the buckets that the conventions ask for."""

log = logging.getLogger(__name__)
_stopping: list[Any] = []


def start_telemetry(service: str) -> None:
    """Trace and measure, if a variable says where to send it. Raises ConfigurationError if OpenTelemetry isn't installed."""
    known = environment()
    if not any(known.get(name) for name in _VARIABLES) or known.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        named = next(name for name in _VARIABLES if known.get(name))
        raise ConfigurationError("environment", named, f"needs OpenTelemetry: pip install 'roadbalancer[otel]' ({exc})") from exc
    resource = Resource.create({"service.name": known.get("OTEL_SERVICE_NAME") or service})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource)
    _stopping.extend((tracers, meters))
    use_tracing(_OpenTelemetry(tracers.get_tracer("roadbalancer"), meters.get_meter("roadbalancer")))
    log.info("traces and metrics are sent by OTLP")


def stop_telemetry() -> None:
    """Send what is still to be sent, and stop."""
    use_tracing(None)
    while _stopping:
        _stopping.pop().shutdown()


class _OpenTelemetry(Tracing):
    def __init__(self, tracer: Any, meter: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.tracer = tracer
        self.propagator = TraceContextTextMapPropagator()
        self.served = meter.create_histogram(
            "http.server.request.duration", "s", "Requests of clients.", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self.called = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "Requests to endpoints.", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of requests.", explicit_bucket_boundaries_advisory=_TOKENS
        )

    @contextmanager
    def request(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[RequestSpan]:
        from opentelemetry.trace import SpanKind

        known = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name in (b"traceparent", b"tracestate")
        }
        attributes = {"http.request.method": method, "url.path": path, "url.scheme": "http"}
        with self.tracer.start_as_current_span(
            method, self.propagator.extract(known), SpanKind.SERVER, attributes, record_exception=False
        ) as span:
            yield _Request(self, span, method)

    @contextmanager
    def shard(self, parent: str, job: str, endpoint: str, first: int, lines: int) -> Iterator[object]:
        from opentelemetry.trace import SpanKind

        context = self.propagator.extract({"traceparent": parent}) if parent else None
        attributes = {
            "roadbalancer.job": job,
            "roadbalancer.endpoint": endpoint,
            "roadbalancer.first_line": first + 1,
            "roadbalancer.lines": lines,
        }
        with self.tracer.start_as_current_span(
            f"shard {endpoint}", context, SpanKind.CONSUMER, attributes, record_exception=False
        ) as span:
            yield span

    def call(self, endpoint: Endpoint, path: str, model: str) -> CallSpan:
        return _Call(self, endpoint, path, model)

    def carried(self) -> str:
        carrier: dict[str, str] = {}
        self.propagator.inject(carrier)
        return carrier.get("traceparent", "")


class _Request(RequestSpan):
    def __init__(self, made_by: _OpenTelemetry, span: Any, method: str) -> None:
        self._made_by = made_by
        self._span = span
        self._method = method
        self._began = time.perf_counter()

    def answered(self, status: int, route: str) -> None:
        from opentelemetry.trace import StatusCode

        attributes: dict[str, Any] = {"http.request.method": self._method, "http.route": route}
        if status:
            attributes["http.response.status_code"] = status
        if not status or status >= 500:
            attributes["error.type"] = str(status) if status else "no_answer"
            self._span.set_status(StatusCode.ERROR)
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes(attributes)
        self._made_by.served.record(time.perf_counter() - self._began, attributes)


class _Call(CallSpan):
    def __init__(self, made_by: _OpenTelemetry, endpoint: Endpoint, path: str, model: str) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        operation = _OPERATIONS.get(path) or path.strip("/").replace("/", "_")
        address = urlsplit(endpoint.url)
        self._attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDERS.get(endpoint.provider, endpoint.provider),
            "gen_ai.request.model": model,
            "server.address": address.hostname or "",
            "server.port": address.port or (443 if address.scheme == "https" else 80),
        }
        self._made_by = made_by
        name = f"{operation} {model}".strip()
        own = {"roadbalancer.endpoint": endpoint.name}
        self._span = made_by.tracer.start_span(name, None, SpanKind.CLIENT, {**self._attributes, **own})
        carrier: dict[str, str] = {}
        made_by.propagator.inject(carrier, set_span_in_context(self._span))
        self.headers: Mapping[str, str] = carrier
        self._began = time.perf_counter()

    def end(self, outcome: Outcome | None) -> None:
        from opentelemetry.trace import StatusCode

        attributes = dict(self._attributes)
        failed = "aborted" if outcome is None or outcome.abandoned else outcome.failure.kind.value if outcome.failure else ""
        if failed:
            attributes["error.type"] = failed
            self._span.set_status(StatusCode.ERROR)
            self._span.set_attribute("error.type", failed)
        if outcome is not None:
            self._take_in(outcome, attributes)
        self._made_by.called.record(time.perf_counter() - self._began, attributes)
        self._span.end()

    def _take_in(self, outcome: Outcome, attributes: Mapping[str, Any]) -> None:
        if outcome.status is not None:
            self._span.set_attribute("http.response.status_code", outcome.status)
        for name, tokens in (("input", outcome.usage.prompt), ("output", outcome.usage.completion)):
            if tokens:
                self._span.set_attribute(f"gen_ai.usage.{name}_tokens", tokens)
                self._made_by.tokens.record(tokens, {**attributes, "gen_ai.token.type": name})
