"""Prometheus exporter for the remembered devices of Amazon Cognito user pools."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cognito-device-exporter")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
