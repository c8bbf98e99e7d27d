"""Prometheus metrics: their definitions, their values and the rendering of `/metrics`."""
