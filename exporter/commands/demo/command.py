"""`demo`: serve from the bundled Cognito emulator on loopback."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import click

from exporter.commands.healthcheck import loopback
from exporter.config.web.load import load_web_settings
from exporter.errors import ExporterError
from exporter.options import ServeOptions
from exporter.stdout import writing_to_stdout
from exporter.web.server import listen

_KEY_BYTES = 32
_EMULATOR_PACKAGES = frozenset({"moto", "werkzeug"})


class MissingEmulator(ExporterError):
    """Error for packages of the emulator that are not installed."""


class World(Protocol):
    """Interface of the running emulator that the demo uses."""

    @property
    def url(self) -> str:
        """Endpoint URL of Cognito and STS."""
        ...

    def settings_yaml(self, key_file: Path) -> str:
        """Return a configuration for the pools of this world."""
        ...


OpenWorld = Callable[[], AbstractContextManager[World]]

Watch = Callable[[ServeOptions, Path], AbstractContextManager[str | None]]
"""Context manager that runs Prometheus with its data in the given directory and yields a message for the user."""


def no_watch(_options: ServeOptions, _directory: Path) -> AbstractContextManager[str | None]:
    """Return a context without Prometheus and without a message."""
    return nullcontext()


def require_addresses(options: ServeOptions) -> None:
    """Check that every listen address is free: the demo must not print the URL of another process.

    Raises `OSError`, whose text names the address, if one cannot be bound.
    """
    with ExitStack() as listeners:
        for address in options.listen_addresses:
            listeners.enter_context(listen(address))
        if options.probe_listen_address is not None:
            listeners.enter_context(listen(options.probe_listen_address))


def run_demo(
    serve: Callable[[Path], int], options: ServeOptions, open_world: OpenWorld | None = None, watch: Watch = no_watch
) -> int:
    """Start the emulator, write its configuration, print the URLs, and serve until stopped.

    `options` has the listen addresses and paths; `watch` is open while the demo serves.

    Raises `MissingEmulator`, whose text says what to install, `click.UsageError` if the first listen address has no
    fixed port, and `ConfigError` if the web configuration is invalid.
    """
    base = _base_url(options)
    with (
        tempfile.TemporaryDirectory(prefix="cognito-device-exporter-demo-") as directory,
        _isolated_environment(),
        (open_world or open_demo_world)() as world,
    ):
        os.environ["AWS_ENDPOINT_URL_STS"] = world.url
        key_file = _write_private(Path(directory) / "identity.key", secrets.token_hex(_KEY_BYTES))
        config_file = _write_private(Path(directory) / "config.yaml", world.settings_yaml(key_file))
        with writing_to_stdout():
            click.echo(f"Status page: {base}/")
            click.echo(f"Metrics:     {base}{options.telemetry_path}")
        with watch(options, Path(directory)) as message:
            if message is not None:
                with writing_to_stdout():
                    click.echo(f"Prometheus:  {message}")
            return serve(config_file)


def _base_url(options: ServeOptions) -> str:
    address = options.listen_addresses[0]
    if not address.port:
        raise click.UsageError(f"address {address} has no fixed port; demo needs one")
    encrypted = options.web_config_file is not None and load_web_settings(options.web_config_file).tls is not None
    return f"{'https' if encrypted else 'http'}://{loopback(address)}"


def open_demo_world() -> AbstractContextManager[World]:
    """Return the emulator's demo world.

    Raises `MissingEmulator` if the `emulator` extra is not installed.
    """
    try:
        from exporter.emulator.demo import DemoWorld  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EMULATOR_PACKAGES:
            raise
        raise MissingEmulator(
            "demo requires the emulator extra: run pip install '.[emulator]' in a checkout"
        ) from error
    return DemoWorld()


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the demo's credentials and without real AWS settings and proxies."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    return kept | {
        # The emulator reads an access key of twelve digits as the account id.
        "AWS_ACCESS_KEY_ID": "123456789012",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def _isolated_environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(demo_environment(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _write_private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return path
