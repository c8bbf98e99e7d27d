"""The state file takes the place of no other file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.config.apart import require_state_apart
from exporter.config.load import load_settings
from exporter.config.settings import Settings
from exporter.errors import ConfigError

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


def faults_of(directory: Path, text: str) -> list[str]:
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return [fault.removeprefix(f"{path}:") for fault in caught.value.problems]


@pytest.mark.parametrize("form", FORMS)
def test_the_state_file_is_not_the_configuration(tmp_path: Path, form: str) -> None:
    (tmp_path / "config.yaml").touch()
    FORMS[form](tmp_path / "state.db", tmp_path / "config.yaml")
    name = "./config.yaml" if form == "by its name" else "state.db"
    assert faults_of(tmp_path, f"pools: [{{id: eu-west-1_A}}]\nstate: {{path: {name}}}\n") == [
        "2: state.path: the configuration itself, expected a file of its own"
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
def test_the_state_file_is_not_an_identity_key(tmp_path: Path, key: Path, form: str, user: str) -> None:
    FORMS[form](tmp_path / "state.db", key)
    name = key.name if form == "by its name" else "state.db"
    assert faults_of(tmp_path, f"state: {{path: {name}}}\n{user}") == [
        "1: state.path: an identity key, expected a file of its own"
    ]


def test_a_key_beside_the_state_file_may_be_named(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "config.yaml"
    text = "pools: [{id: eu-west-1_A, identity_key_file: identity.key}]\nstate: {path: identity}\n"
    path.write_text(text, encoding="utf-8")
    assert load_settings(path).state_path == key.with_suffix("")


def settings(directory: Path, state: str) -> Settings:
    path = directory / "config.yaml"
    path.write_text(f"pools: [{{id: eu-west-1_A}}]\nstate: {{path: {state}}}\n", encoding="utf-8")
    return load_settings(path)


def test_the_state_file_is_no_file_of_the_web_configuration(tmp_path: Path) -> None:
    web, tls = tmp_path / "web.yml", tmp_path / "tls.key"
    for file in (web, tls):
        file.touch()
    (tmp_path / "state.db").symlink_to(tls)
    for name in ("web.yml", "tls.key", "state.db"):
        with pytest.raises(ConfigError) as caught:
            require_state_apart(settings(tmp_path, name), Path("c.yaml"), [web, tls])
        assert caught.value.problems == (
            "c.yaml: state.path: a file of the web configuration, expected a file of its own",
        )
    require_state_apart(settings(tmp_path, "other.db"), Path("c.yaml"), [web, tls])
    require_state_apart(settings(tmp_path, "web.yml"), Path("c.yaml"), [])
    require_state_apart(settings(tmp_path, "null"), Path("c.yaml"), [web, tls])
    assert not os.path.lexists(tmp_path / "other.db")
