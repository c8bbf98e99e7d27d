"""The configuration: YAML as written, checked strictly, turned into frozen settings."""
