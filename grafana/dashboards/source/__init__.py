"""The dashboards as code; `python -m grafana.dashboards.source` writes the JSON files next to this package."""
