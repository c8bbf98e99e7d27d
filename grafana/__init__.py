"""Dashboards, recording rules and alerts for operators."""
