"""Which configurations several processes can share."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.load import load_settings
from exporter.config.settings import Settings
from exporter.config.sharding import require_shared_keys
from exporter.errors import ConfigError
from exporter.shard import UNSHARDED, Shard

POOLS = """
pools:
  - {id: eu-west-1_Keyed, detail: device, identity_key_file: identity.key}
  - {id: eu-west-1_Raw, detail: device, identity: raw}
  - {id: eu-west-1_Pool}
"""
KEYLESS = """
  - {id: eu-west-1_User, detail: user}
  - {id: eu-west-1_Device, detail: device}
"""


def settings(directory: Path, pools: str) -> Settings:
    key = directory / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    path = directory / "config.yaml"
    path.write_text(f"{pools}state: {{path: state.db}}\n", encoding="utf-8")
    return load_settings(path)


def test_every_pool_whose_labels_would_differ_between_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        require_shared_keys(settings(tmp_path, POOLS + KEYLESS), Shard(0, 2))
    assert caught.value.problems == (
        (
            "eu-west-1_User: --shard 0/2 with identity hmac and detail user needs a key that all shards share, "
            "expected identity_key_file"
        ),
        (
            "eu-west-1_Device: --shard 0/2 with identity hmac and detail device needs a key that all shards share, "
            "expected identity_key_file"
        ),
    )


def test_pools_without_user_labels_and_pools_with_a_key_file_can_be_shared(tmp_path: Path) -> None:
    require_shared_keys(settings(tmp_path, POOLS), Shard(1, 3))


def test_pools_that_a_rule_may_find_need_a_shared_key_too(tmp_path: Path) -> None:
    rule = "discovery: [{regions: [eu-west-1], detail: user}]\n"
    with pytest.raises(ConfigError, match=r"^discovery: --shard 0/2 with identity hmac and detail user needs a key"):
        require_shared_keys(settings(tmp_path, rule), Shard(0, 2))


def test_one_process_needs_no_shared_key(tmp_path: Path) -> None:
    require_shared_keys(settings(tmp_path, POOLS + KEYLESS), UNSHARDED)
