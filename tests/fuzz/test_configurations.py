"""Random configurations give settings, or errors of one line each with a place and without secrets, in limited time."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.load import load_settings, parse_settings
from exporter.config.schema import Root, fields_of, model_in
from exporter.config.settings import Settings
from exporter.config.web.load import load_web_settings
from exporter.config.web.schema import WebRoot
from exporter.config.web.settings import WebSettings
from exporter.errors import ConfigError

POOL = "eu-west-1_AbCdEfGhI"
CANARY = "canary7f"
SECRETS = ("external_id", "endpoint_url", "role_arn", "usernames", "filter")
LONGEST_SECONDS = 60.0
"""CPU time for the largest file: seconds if the code is efficient, minutes if not."""

EXAMPLE = f"""\
defaults:
  refresh_interval: 1h
  stale_after: [30d, 60d]
  detail: device
  identity: raw
  role_arn: arn:aws:iam::123456789012:role/{CANARY}
  external_id: {CANARY}-external
pools:
  - id: {POOL}
    users:
      usernames: [{CANARY}-ann, "{CANARY}-bob"]
    endpoint_url: https://{CANARY}.example.com
  - id: eu-west-1_Other0001
    users: {{filter: 'username = "{CANARY}"'}}
limits:
  rate: {{UserResourceRead: 10, UserList: "20%"}}
  series: 1000
"""


def keys_in(model: Any) -> set[str]:
    """Return every key of a file, at any depth."""
    found: set[str] = set()
    for name, info in fields_of(model).items():
        inner = model_in(info.annotation)
        found |= {name} | (keys_in(inner) if inner else set())
    return found


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [POOL, "1h", "90d", "device", "hmac", "raw", "20%", "0", "", "~", "eu-west-1", "[", "a: b", "\ud800"]
    ),
)


def documents(keys: set[str], top: set[str]) -> st.SearchStrategy[Any]:
    """Return values that YAML can represent, most of them with known keys."""
    names = st.sampled_from(sorted(keys)) | st.text(max_size=8)
    values = st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=20,
    )
    return st.dictionaries(st.sampled_from(sorted(top)) | st.text(max_size=5), values, max_size=5)


KEYS, TOP = keys_in(Root), set(fields_of(Root))
POOLS = st.lists(
    st.dictionaries(st.sampled_from(sorted(KEYS)), SCALARS | st.lists(SCALARS, max_size=3), max_size=6).map(
        lambda rest: {"id": POOL, **rest}
    ),
    max_size=3,
)


def faults_of(text: str) -> tuple[str, ...]:
    try:
        assert isinstance(parse_settings(text, "config.yaml"), Settings)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - one of two correct outcomes
        return error.problems
    return ()


def assert_well_told(faults: tuple[str, ...], file: str = "config.yaml") -> None:
    for fault in faults:
        assert re.match(rf"{re.escape(file)}:\d+(:\d+)?: ", fault), fault
        assert fault.isprintable(), fault


def written(document: Any) -> str:
    return str(yaml.safe_dump(document, allow_unicode=True))


@given(documents(KEYS, TOP) | POOLS.map(lambda pools: {"pools": pools}))
def test_document_is_settings_or_errors_with_a_place(document: dict[str, Any]) -> None:
    assert_well_told(faults_of(written(document)))


@given(
    st.sampled_from(SECRETS),
    st.recursive(
        st.just(CANARY) | st.text(max_size=5).map(lambda text: f"{text}{CANARY}{text}"),
        lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=2).map(lambda items: {"x": items}),
        max_leaves=4,
    ),
    documents(KEYS, TOP),
)
def test_value_in_place_of_a_secret_is_not_quoted(name: str, secret: Any, document: dict[str, Any]) -> None:
    below_users = name in {"usernames", "filter"}
    entry: dict[str, Any] = {"id": POOL, **({"users": {name: secret}} if below_users else {name: secret})}
    text = written({**document, "pools": [entry]})
    faults = faults_of(text)
    assert_well_told(faults)
    assert CANARY not in "\n".join(faults)


@given(
    st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.sampled_from([*"\n :-,'\"[]{}#&*!|>%@`?\t\\", ""])), max_size=3)
)
def test_wrong_punctuation_leaks_no_secret(slips: list[tuple[int, str]]) -> None:
    text = EXAMPLE
    for place, slip in slips:
        # Inserted, or replacing a character other than a letter.
        end = place + (not text[place : place + 1].isalnum())
        text = text[:place] + slip + text[end:]
    faults = faults_of(text)
    assert_well_told(faults)
    assert CANARY not in "\n".join(faults)


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-16")))
def test_file_of_any_bytes_is_settings_or_errors(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_settings(path)
    except ConfigError as error:
        assert_well_told(error.problems, str(path))


@given(st.data())
def test_web_configuration_is_settings_or_errors_without_names(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "web.yaml"
    document = data.draw(documents(keys_in(WebRoot), set(fields_of(WebRoot))))
    users = data.draw(st.dictionaries(st.just(CANARY), st.text(max_size=5).map(lambda text: CANARY + text)))
    path.write_text(written({**document, "basic_auth_users": users}))
    try:
        assert isinstance(load_web_settings(path), WebSettings)
    except ConfigError as error:
        assert_well_told(error.problems, str(path))
        assert CANARY not in str(error)  # noqa: PT017 - as above


MEBI = 1 << 20
HUGE = {  # files with an error in each line are smaller, because all errors are reported
    "nested": "[" * MEBI,
    "explicit keys": "? " * (MEBI // 2),
    "tags": "!" * MEBI,
    "aliases": "a: &a [x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(10_000)),
    "unknown keys": "a: b\n" * (MEBI // 64),
    "pools twice": "pools:\n" + f"  - id: {POOL}\n" * (MEBI // 400),
    "bad pools": "pools:\n" + "  - {id: x, detail: y}\n" * (MEBI // 400),
    "digits": f"pools: [{{id: {POOL}}}]\nlimits:\n  series: " + "9" * (MEBI - 100),
    "duration": f"pools:\n  - id: {POOL}\n    refresh_interval: " + "9" * (MEBI - 100) + "h",
    "sexagesimal": f"pools: [{{id: {POOL}}}]\nlimits:\n  series: 1" + ":59" * (MEBI // 4),
    "share": f"pools: [{{id: {POOL}}}]\nlimits:\n  rate:\n    UserList: '" + "9" * (MEBI - 100) + "%'",
    "literal": "|\n" + " \n" * (MEBI // 2),
    "too large": " " * (MEBI + 1),
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
def test_largest_files_are_rejected_in_bounded_time(tmp_path: Path, text: str) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError):
        load_settings(path)
    assert time.process_time() - began < LONGEST_SECONDS
