"""Traces of sweeps. OpenTelemetry is imported only if its environment variables enable it."""
