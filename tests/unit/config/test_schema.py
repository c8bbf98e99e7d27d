"""The example and the documentation of the configuration match the schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import schema as wire
from exporter.config.load import load_settings
from tools import configuration_doc

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yaml"


def example() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    return content


def supported_keys() -> list[str]:
    sections = (wire.Root, wire.Defaults, wire.Pool, wire.Users, wire.Rule, wire.Limits, wire.Rates, wire.State)
    return [name for section in sections for name in wire.fields_of(section)]


def test_example_loads() -> None:
    settings = load_settings(EXAMPLE)
    assert (len(settings.pools), len(settings.discovery)) == (2, 1)


@pytest.mark.parametrize("key", sorted(set(supported_keys())))
def test_example_has_every_key_with_a_comment(key: str) -> None:
    assert re.search(rf"^ *(- |# )?{key}: *[^#]*#.+", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)


def test_example_shows_the_defaults() -> None:
    shown = example()
    assert wire.Defaults.model_validate(shown["defaults"]) == wire.Defaults()
    assert set(shown["defaults"]) == set(wire.fields_of(wire.Defaults))
    assert shown["limits"]["rate"] == {name: info.default for name, info in wire.fields_of(wire.Rates).items()}
    assert shown["limits"]["series"] == wire.Limits().series
    assert shown["state"] == wire.State().model_dump()


def test_every_key_has_expected_values_and_a_description() -> None:
    for section in (wire.Root, wire.Pool, wire.Users, wire.Rule, wire.Limits, wire.Rates, wire.State):
        for info in wire.fields_of(section).values():
            assert wire.expected_of(info)
            assert (info.description or "").endswith(".")


def test_documentation_is_current() -> None:
    assert configuration_doc.TARGET.read_text(encoding="utf-8") == configuration_doc.render(), "run `make docs`"
