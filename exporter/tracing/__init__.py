"""Traces of sweeps by OpenTelemetry; the only speaker of it, imported only where its variables ask for traces."""
