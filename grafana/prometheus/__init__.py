"""Recording rules and alerts as code; `python -m grafana.prometheus` writes them as YAML."""
