"""Checks of several keys: files that must differ, and keys that shards need."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config.crosscheck import crosscheck, require_separate_state_file, require_shared_keys
from exporter.config.load import load_settings
from exporter.config.resolve import Overlay
from exporter.config.schema import Defaults, Limits, Pool, State
from exporter.config.settings import Settings
from exporter.config.validation import Validated
from exporter.errors import ConfigError
from exporter.shard import UNSHARDED, Shard

FORMS: dict[str, Callable[[Path, Path], object]] = {
    "by its name": lambda _, __: None,
    "by a symbolic link": lambda link, target: link.symlink_to(target.name),
    "by another name of it": lambda link, target: link.hardlink_to(target),
}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "identity.key"
    path.touch(mode=0o600)
    path.write_bytes(b"k" * 32)
    return path


def problems_of(directory: Path, text: str) -> list[str]:
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


@pytest.mark.parametrize("form", FORMS)
def test_state_file_is_the_configuration_rejected(tmp_path: Path, form: str) -> None:
    (tmp_path / "config.yaml").touch()
    FORMS[form](tmp_path / "state.db", tmp_path / "config.yaml")
    name = "./config.yaml" if form == "by its name" else "state.db"
    assert problems_of(tmp_path, f"pools: [{{id: eu-west-1_A}}]\nstate: {{path: {name}}}\n") == [
        "2: state.path: the configuration file itself, expected a separate file"
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "user",
    [
        "pools: [{id: eu-west-1_A}, {id: eu-west-1_B, identity_key_file: identity.key}]\n",
        "discovery: [{regions: [eu-west-1], identity_key_file: identity.key}]\n",
        "pools: [{id: eu-west-1_A}]\ndefaults: {identity_key_file: identity.key}\n",
    ],
)
def test_state_file_is_an_identity_key_rejected(tmp_path: Path, key: Path, form: str, user: str) -> None:
    FORMS[form](tmp_path / "state.db", key)
    name = key.name if form == "by its name" else "state.db"
    assert problems_of(tmp_path, f"state: {{path: {name}}}\n{user}") == [
        "1: state.path: an identity key, expected a separate file"
    ]


def test_key_next_to_the_state_file_accepted(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "config.yaml"
    text = "pools: [{id: eu-west-1_A, identity_key_file: identity.key}]\nstate: {path: identity}\n"
    path.write_text(text, encoding="utf-8")
    assert load_settings(path).state_path == key.with_suffix("")


def settings(directory: Path, state: str) -> Settings:
    path = directory / "config.yaml"
    path.write_text(f"pools: [{{id: eu-west-1_A}}]\nstate: {{path: {state}}}\n", encoding="utf-8")
    return load_settings(path)


def test_state_file_is_a_web_file_rejected(tmp_path: Path) -> None:
    web, tls = tmp_path / "web.yml", tmp_path / "tls.key"
    for file in (web, tls):
        file.touch()
    (tmp_path / "state.db").symlink_to(tls)
    for name in ("web.yml", "tls.key", "state.db"):
        with pytest.raises(ConfigError) as caught:
            require_separate_state_file(settings(tmp_path, name), Path("c.yaml"), [web, tls])
        assert caught.value.problems == (
            "c.yaml: state.path: a file of the web configuration, expected a separate file",
        )
    require_separate_state_file(settings(tmp_path, "other.db"), Path("c.yaml"), [web, tls])
    require_separate_state_file(settings(tmp_path, "web.yml"), Path("c.yaml"), [])
    require_separate_state_file(settings(tmp_path, "null"), Path("c.yaml"), [web, tls])
    assert not os.path.lexists(tmp_path / "other.db")


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


def sharded(directory: Path, pools: str) -> Settings:
    key = directory / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    path = directory / "config.yaml"
    path.write_text(f"{pools}state: {{path: state.db}}\n", encoding="utf-8")
    return load_settings(path)


def test_shards_report_every_pool_without_a_key_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        require_shared_keys(sharded(tmp_path, POOLS + KEYLESS), Shard(0, 2))
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


def test_shards_accept_key_files_raw_names_and_detail_pool(tmp_path: Path) -> None:
    require_shared_keys(sharded(tmp_path, POOLS), Shard(1, 3))


def test_shards_report_a_rule_without_a_key_file(tmp_path: Path) -> None:
    rule = "discovery: [{regions: [eu-west-1], detail: user}]\n"
    with pytest.raises(ConfigError, match=r"^discovery: --shard 0/2 with identity hmac and detail user needs a key"):
        require_shared_keys(sharded(tmp_path, rule), Shard(0, 2))


def test_one_shard_needs_no_key_file(tmp_path: Path) -> None:
    require_shared_keys(sharded(tmp_path, POOLS + KEYLESS), UNSHARDED)


def test_crosscheck_of_many_pools_takes_linear_time() -> None:
    pools = [
        Overlay(
            "pools", index, Pool.model_validate({"id": f"eu-west-1_{index}", "users": {"groups": ["a"]}}), Defaults()
        )
        for index in range(5_000)
    ]
    invalid = frozenset(
        ("pools", index, "users", key) for index in range(5_000, 15_000) for key in ("groups", "filter")
    )
    valid = Validated(pools, [], Limits(), State(), invalid_keys=invalid)
    started = time.process_time()
    assert crosscheck(valid, None, Path("config.yaml")) == []
    assert time.process_time() - started < 3
