"""What is known, as Prometheus metrics."""
