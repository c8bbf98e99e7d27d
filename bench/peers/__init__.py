"""Programs that the benchmark compares with the exporter."""
