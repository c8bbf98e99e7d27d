"""What this exporter is measured against."""
