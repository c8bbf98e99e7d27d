"""Parsers of flags."""

from __future__ import annotations

import pytest

from exporter.options import ListenAddress, parse_listen_address, parse_shard, parse_telemetry_path
from exporter.shard import UNSHARDED, Shard


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":10617", ListenAddress("", 10617)),
        ("127.0.0.1:10617", ListenAddress("127.0.0.1", 10617)),
        ("localhost:0", ListenAddress("localhost", 0)),
        ("my_host.example-1.com:80", ListenAddress("my_host.example-1.com", 80)),
        ("[::1]:0", ListenAddress("::1", 0)),
        ("[::]:65535", ListenAddress("::", 65535)),
        ("[fe80::1%eth0]:80", ListenAddress("fe80::1%eth0", 80)),
    ],
)
def test_listen_address_is_parsed_as_in_go(text: str, address: ListenAddress) -> None:
    assert parse_listen_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10617",
        "localhost",
        ":",
        ":x",
        ":65536",
        ":-1",
        ":100000",
        ":" + "9" * 5000,
        ":٣",
        "a b:1",
        "::1:80",
        "[::1]",
        "[x]:80",
    ],
)
def test_listen_address_invalid_reports_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*' has (no|a port out of) .*, expected "):
        parse_listen_address(text)


@pytest.mark.parametrize("text", ["/metrics", "/a/b", "/-x", "/apis/metrics", "/metrics_v2.txt"])
def test_telemetry_path_is_accepted(text: str) -> None:
    assert parse_telemetry_path(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "metrics",
        "//",
        "/metrics/",
        "/a b",
        "/a?b",
        "/a#b",
        "/é",
        "/-/healthy",
        "/-/x",
        "/-",
        "/api",
        "/api/v1",
    ],
)
def test_telemetry_path_reserved_or_invalid_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*' is (reserved|not a valid path), expected "):
        parse_telemetry_path(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("", False), ("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("example", False)],
)
def test_listen_address_is_loopback(host: str, expected: bool) -> None:
    assert ListenAddress(host, 1).is_loopback is expected


@pytest.mark.parametrize(
    ("text", "host_name", "shard"),
    [
        ("0/1", "", UNSHARDED),
        ("0/3", "exporter-2", Shard(0, 3)),
        ("2/3", "laptop", Shard(2, 3)),
        ("auto/1", "exporter-0", UNSHARDED),
        ("auto/3", "exporter-2", Shard(2, 3)),
        ("auto/12", "cognito-device-exporter-11", Shard(11, 12)),
        ("auto/3", "exporter-1.exporter.monitoring.svc.cluster.local", Shard(1, 3)),
    ],
)
def test_shard_is_explicit_or_from_the_pod_name(text: str, host_name: str, shard: Shard) -> None:
    assert parse_shard(text, host_name) == shard
    assert parse_shard(str(shard), host_name) == shard


@pytest.mark.parametrize("text", ["", "1", "/", "1/", "/3", "a/3", "0/b", "-1/3", "0/-3", "+0/3", "1.0/3", "0/3/3"])
def test_shard_invalid_reports_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^'.*' is not a shard, expected I/N such as 0/3, or auto/3 in a pod of a"):
        parse_shard(text, "exporter-0")


@pytest.mark.parametrize("text", ["AUTO/3", "0 / 3", "٣/4", f"0/{'9' * 5000}"])
def test_shard_in_another_form_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not a shard"):
        parse_shard(text, "exporter-0")


@pytest.mark.parametrize("text", ["0/0", "auto/0", "1/00"])
def test_shard_count_zero_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^'{text}' has a shard count of 0, expected at least 1$"):
        parse_shard(text, "exporter-0")


def test_shard_ordinal_above_the_count_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"^'3/3' has no shard 3, expected one from 0 to 2$"):
        parse_shard("3/3", "exporter-0")


def test_shard_of_a_pod_above_the_count_is_rejected() -> None:
    said = r"^'auto/3' has no shard 3 of the host name 'exporter-3', expected one from 0 to 2$"
    with pytest.raises(ValueError, match=said):
        parse_shard("auto/3", "exporter-3")


@pytest.mark.parametrize(
    "host_name", ["", "laptop", "exporter", "exporter2", "exporter-", "exporter-7d9f8-x2x4z", "2", "exporter.x-2"]
)
def test_shard_auto_outside_a_statefulset_is_rejected(host_name: str) -> None:
    with pytest.raises(
        ValueError, match=rf"requires an ordinal in the host name '{host_name}', expected .*exporter-0$"
    ):
        parse_shard("auto/3", host_name)
