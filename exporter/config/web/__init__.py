"""The web configuration, in the format of the Prometheus exporter-toolkit."""
