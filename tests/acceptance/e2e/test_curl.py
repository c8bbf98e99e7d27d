"""curl as a client of a server with TLS and passwords; quick tests use Python's TLS on both sides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.web_serving import (
    MUTUAL,
    PASSWORD,
    SECRET,
    TLS,
    USERS,
    Site,
    authority,
    serving_site,
    write_certificate,
)
from tests.tools import required_tool


def curl(site: Site, directory: Path, *options: str) -> tuple[int, str]:
    """Make a request and return curl's exit code and output."""
    command = [required_tool("curl"), "-q", "-sS", "-i", "--max-time", "10", "--noproxy", "*"]
    done = subprocess.run(
        [*command, "--cacert", str(directory / "ca.crt"), *options, site.url()],
        capture_output=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    return done.returncode, done.stdout.decode()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_certificate(tmp_path)
    return tmp_path


def test_curl_verifies_the_server_and_sends_a_password(directory: Path) -> None:
    right = ("--user", f"alice:{PASSWORD}")
    with serving_site(directory, tls_server_config=TLS, **USERS) as site:
        code, answer = curl(site, directory, "--http2", *right)
        assert code == 0
        assert answer.startswith("HTTP/1.1 200 ")
        assert answer.endswith(SECRET.decode())
        assert curl(site, directory, "--user", "alice:wrong")[1].startswith("HTTP/1.1 401 ")
        write_certificate(directory, ca=authority("another"), stem="other")  # also replaces ca.crt
        assert curl(site, directory, *right) == (60, "")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_curl_without_a_required_certificate_is_rejected(directory: Path, version: str) -> None:
    write_certificate(directory, "scraper.example", stem="client")
    shown = ("--cert", str(directory / "client.crt"), "--key", str(directory / "client.key"))
    with serving_site(directory, tls_server_config=MUTUAL) as site:
        assert curl(site, directory, "--tls-max", version, *shown)[0] == 0
        code, answer = curl(site, directory, "--tls-max", version)
        assert (code != 0, answer) == (True, "")


@pytest.mark.parametrize(("offered", "code"), [("X25519", 0), ("P-256", 35)])
def test_curl_negotiates_the_configured_curve(directory: Path, offered: str, code: int) -> None:
    with serving_site(directory, tls_server_config={**TLS, "curve_preferences": ["X25519"]}) as site:
        assert curl(site, directory, "--curves", offered)[0] == code
