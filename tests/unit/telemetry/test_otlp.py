"""When OpenTelemetry is started, and when it isn't."""

import sys

import pytest

from api_roadbalancer.telemetry.otlp import start_telemetry
from balancer.errors import ConfigurationError
from balancer.runtime.tracing import job_span, tracing


@pytest.mark.parametrize("variables", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "TRUE"}])
def test_without_a_place_to_send_to_nothing_is_traced(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    start_telemetry("test")
    assert tracing() is None
    with job_span("", "job", "endpoint", 0, 1) as span:
        assert span is None


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT.*pip install 'roadbalancer\[otel\]'"):
        start_telemetry("test")
    assert tracing() is None
