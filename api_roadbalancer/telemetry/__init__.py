"""What processes tell of themselves: logs, the audit log, and traces and metrics for OpenTelemetry."""
