"""Benchmark of this exporter, a naive peer and a Go peer: `make bench`."""
