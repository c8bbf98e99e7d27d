"""`demo`: setup and cleanup around the emulator."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
import trustme

from exporter.cli import main
from exporter.commands.demo.command import World, demo_environment, run_demo
from exporter.commands.demo.prometheus import free_port
from exporter.config.load import load_settings
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from exporter.options import ListenAddress, ServeOptions

pytestmark = pytest.mark.usefixtures("restored_logging")

OPTIONS = ServeOptions(Path(), (ListenAddress("", 10617),), telemetry_path="/m")


class OnePool:
    """World of one pool that needs a key."""

    url = "http://127.0.0.1:4566"

    def settings_yaml(self, key_file: Path) -> str:
        return f"defaults: {{identity_key_file: {key_file}, detail: user}}\npools:\n  - id: eu-west-1_AbC\n"


@contextmanager
def open_one_pool() -> Iterator[World]:
    yield OnePool()


def test_demo_serves_with_its_own_key_and_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    seen: list[Path] = []

    def serve(config_file: Path) -> int:
        (pool,) = load_settings(config_file).pools
        assert pool.id == "eu-west-1_AbC"
        assert os.environ["AWS_ACCESS_KEY_ID"] == "123456789012"
        assert os.environ["AWS_ENDPOINT_URL_STS"] == OnePool.url
        seen.append(config_file)
        return 7

    assert run_demo(serve, OPTIONS, open_one_pool) == 7
    assert dict(os.environ) == before
    assert not seen[0].parent.exists()
    assert capsys.readouterr().out.split() == [
        *("Status", "page:", "http://127.0.0.1:10617/"),
        *("Metrics:", "http://127.0.0.1:10617/m"),
    ]


TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"


@pytest.mark.parametrize(("content", "scheme"), [(TLS, "https"), ("http_server_config: {http2: false}\n", "http")])
def test_printed_url_has_the_scheme_of_the_web_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, scheme: str
) -> None:
    issued = trustme.CA().issue_cert("localhost")
    (tmp_path / "server.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (tmp_path / "server.key").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "web.yml").write_text(content, encoding="utf-8")
    options = replace(OPTIONS, web_config_file=tmp_path / "web.yml")
    assert run_demo(lambda _: 0, options, open_one_pool) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Status page: {scheme}://127.0.0.1:10617/",
        f"Metrics:     {scheme}://127.0.0.1:10617/m",
    ]


def free_address() -> str:
    """Return a flag with a free listen address."""
    return f"--web.listen-address=127.0.0.1:{free_port(0)}"


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """Return the error of a demo that cannot start."""

    def serve(_settings: Settings, _options: ServeOptions) -> int:
        raise AssertionError

    assert main(["demo", *flags], serve) == 2
    output = capsys.readouterr()
    assert output.out == ""
    return output.err


def test_address_without_a_fixed_port_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--web.listen-address=127.0.0.1:0") == (
        "cognito-device-exporter: error: address 127.0.0.1:0 has no fixed port; demo needs one, "
        "try 'cognito-device-exporter demo --help'\n"
    )


@pytest.mark.parametrize("taken_by", ["--web.listen-address", "--web.probe-listen-address"])
def test_address_in_use_is_reported_before_any_url(capsys: pytest.CaptureFixture[str], taken_by: str) -> None:
    def serve(_settings: Settings, _options: ServeOptions) -> int:
        raise AssertionError

    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(["demo", free_address(), f"{taken_by}={where}"], serve) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"cannot listen on {where}: Address already in use\n"


def test_invalid_web_configuration_is_reported_before_any_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "web.yml").write_text("tls: {}\n", encoding="utf-8")
    assert "web.yml:1: tls: unknown key" in refused(capsys, free_address(), f"--web.config.file={tmp_path / 'web.yml'}")


def test_demo_environment_has_no_aws_settings_and_no_proxy() -> None:
    real = {
        "PATH": "/bin",
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "s3cret",
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
        "HTTPS_PROXY": "http://proxy:1",
        "http_proxy": "http://proxy:1",
    }
    environment = demo_environment(real)
    assert environment["PATH"] == "/bin"
    assert "s3cret" not in environment.values()
    assert not {"AWS_PROFILE", "AWS_ROLE_ARN", "HTTPS_PROXY", "http_proxy"} & environment.keys()


@pytest.mark.parametrize("missing", ["moto", "werkzeug"])
def test_missing_extra_is_reported(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from exporter.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "demo", free_address()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "demo requires the emulator extra: run pip install '.[emulator]' in a checkout\n"


def test_demo_pools_can_be_described_by_boto3() -> None:
    names: list[str] = []

    def serve(settings: Settings, options: ServeOptions) -> int:
        for pool in settings.pools:
            client = boto3.client("cognito-idp", pool.region, endpoint_url=pool.target.endpoint_url)
            names.append(client.describe_user_pool(UserPoolId=pool.id)["UserPool"]["Name"])
        return 0 if options.telemetry_path == "/m" else 1

    assert main(["demo", free_address(), "--web.telemetry-path=/m"], serve) == 0
    assert names == ["shop-prod", "workforce", "legacy-app"]


def test_environment_is_restored_when_the_demo_fails() -> None:
    def fail(_config_file: Path) -> int:
        raise ConfigError(["broken"])

    before = dict(os.environ)
    with pytest.raises(ConfigError):
        run_demo(fail, OPTIONS, open_one_pool)
    assert dict(os.environ) == before
