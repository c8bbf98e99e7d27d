"""What the flags may say."""

from __future__ import annotations

import pytest

from exporter.options import ListenAddress, parse_listen_address, parse_telemetry_path


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
def test_an_address_is_written_as_in_go(text: str, address: ListenAddress) -> None:
    assert parse_listen_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "10617", "localhost", ":", ":x", ":65536", ":-1", ":100000", ":٣", "a b:1", "::1:80", "[::1]", "[x]:80"],
)
def test_what_is_no_address_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*' has no .*, expected "):
        parse_listen_address(text)


@pytest.mark.parametrize("text", ["/metrics", "/a/b", "/-x", "/apis/metrics", "/metrics_v2.txt"])
def test_metrics_may_have_a_path_of_their_own(text: str) -> None:
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
def test_paths_of_other_pages_and_no_paths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"'.*' is (taken|no path of a page), expected "):
        parse_telemetry_path(text)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("", False), ("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("example", False)],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert ListenAddress(host, 1).is_loopback is expected
