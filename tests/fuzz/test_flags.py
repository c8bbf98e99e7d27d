"""Random flags and environment variables give a value, or a `ValueError` of one line with what was expected."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.values import parse_share
from exporter.flags import _parse_interval
from exporter.options import parse_listen_address, parse_shard, parse_telemetry_path

PIECES = st.sampled_from(
    [
        ":",
        "::1",
        "[",
        "]",
        "0",
        "10617",
        "65536",
        "auto",
        "/",
        "/metrics",
        "/-/",
        "..",
        "%",
        "h",
        "ms",
        "-",
        "٣",
        "²",
        "\n",
        " ",
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join)
PARSERS: dict[str, Callable[[str], object]] = {
    "address": parse_listen_address,
    "path": parse_telemetry_path,
    "shard": lambda text: parse_shard(text, "exporter-1"),
    "host name": lambda text: parse_shard("auto/3", text),
    "interval": _parse_interval,
    "share": parse_share,
}


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(text=TEXTS)
def test_text_is_a_value_or_a_one_line_error(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two correct outcomes
        assert "literal" not in str(error)  # noqa: PT017 - Python's own message would not help the operator


@given(TEXTS)
def test_address_round_trips(text: str) -> None:
    try:
        address = parse_listen_address(text)
    except ValueError:
        return
    assert parse_listen_address(str(address)) == address
    assert 0 <= address.port <= 65535


@given(TEXTS)
def test_shard_ordinal_is_below_the_count(text: str) -> None:
    try:
        shard = parse_shard(text, "exporter-1")
    except ValueError:
        return
    assert 0 <= shard.ordinal < shard.count
