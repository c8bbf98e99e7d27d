"""Validation of configurations in manifests by the exporter's own code."""

from __future__ import annotations

from pathlib import Path

from exporter.config.crosscheck import require_shared_keys
from exporter.config.load import parse_settings
from exporter.config.settings import Settings
from exporter.shard import Shard

STATE = "/var/lib/cognito-device-exporter"
KEY = "/etc/cognito-device-exporter-identity/key"


def check_config(text: str, directory: Path, shards: int = 1) -> Settings:
    """Validate a configuration like `check-config` and a starting shard. `directory` replaces the mounted directories.

    Raise `ConfigError` for an invalid configuration.
    """
    key = directory / "key"
    key.write_bytes(b"sixteen bytes and more")
    key.chmod(0o600)
    settings = parse_settings(text.replace(STATE, str(directory)).replace(KEY, str(key)), "config.yaml")
    require_shared_keys(settings, Shard(0, shards))
    return settings
