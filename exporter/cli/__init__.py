"""The command line: `cognito-device-exporter`, also `python -m exporter`."""

from exporter.cli.commands import main

__all__ = ["main"]
