"""The dashboards: JSON for Grafana, and in `source` the code that it is written from."""
