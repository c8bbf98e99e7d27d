"""What this exporter costs, beside a naive peer and a Go one: `make bench`."""
