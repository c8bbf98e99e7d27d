"""Command line: output, exit codes and parsed options."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from exporter import __version__
from exporter.cli import main
from exporter.collect.identities import stored_identity_key
from exporter.commands.healthcheck import Unhealthy, check_health
from exporter.config.settings import Settings
from exporter.errors import ExporterError
from exporter.flags import environment_variable
from exporter.logging_setup import LogFormat, LogLevel
from exporter.options import ListenAddress, ServeOptions
from exporter.shard import Shard

ONE_POOL = "pools:\n  - id: eu-west-1_AbCdEfGhI\n"
KEYLESS = f"{ONE_POOL}    detail: user\nstate: {{path: state.db}}\n"
KEY = b"0123456789abcdef"

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("restored_logging", "no_flags_in_environment")


@pytest.fixture
def no_flags_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("COGNITO_DEVICE_EXPORTER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(ONE_POOL, encoding="utf-8")
    return path


@dataclass
class Served:
    """Application that records its arguments."""

    code: int = 0
    calls: list[tuple[Settings, ServeOptions]] = field(default_factory=list)

    def __call__(self, settings: Settings, options: ServeOptions) -> int:
        self.calls.append((settings, options))
        return self.code

    @property
    def options(self) -> ServeOptions:
        ((_, options),) = self.calls
        return options


def options_of(args: Sequence[str], config: Path) -> ServeOptions:
    served = Served()
    assert main(["--config.file", str(config), *args], served) == 0
    return served.options


def refused(args: Sequence[str], capsys: Capture) -> str:
    """Return the error of wrong usage, which is one line on stderr."""
    served = Served()
    assert main(args, served) == 2
    assert served.calls == []
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err.strip()


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_serve_is_the_default_command(command: list[str], config: Path) -> None:
    served = Served()
    assert main(["--config.file", str(config), *command], served) == 0
    ((settings, options),) = served.calls
    assert [pool.id for pool in settings.pools] == ["eu-west-1_AbCdEfGhI"]
    assert options == ServeOptions(
        config_file=config,
        listen_addresses=(ListenAddress("", 10617),),
        probe_listen_address=None,
        telemetry_path="/metrics",
        auto_reload_interval=30,
        log_level=LogLevel.INFO,
        log_format=LogFormat.LOGFMT,
        shard=Shard(0, 1),
    )


def test_configuration_file_defaults_to_config_yaml(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    served = Served()
    assert main([], served) == 0
    assert served.options.config_file == Path("config.yaml")


FLAGS = ["--web.listen-address=127.0.0.1:1", "--web.listen-address", "[::1]:0", "--web.telemetry-path=/m"]
MORE_FLAGS = ["--web.probe-listen-address=:2", "--log.level=debug", "--log.format", "json", "--shard=1/3"]
MORE_FLAGS += ["--config.auto-reload-interval=1m30s", "--web.enable-lifecycle"]


@pytest.mark.parametrize(
    "args",
    [[*FLAGS, *MORE_FLAGS], ["serve", *FLAGS, *MORE_FLAGS], [*FLAGS, "serve", *MORE_FLAGS]],
    ids=["bare", "after", "around"],
)
def test_flags_are_accepted_before_and_after_the_command(args: list[str], config: Path) -> None:
    assert options_of(args, config) == ServeOptions(
        config_file=config,
        listen_addresses=(ListenAddress("127.0.0.1", 1), ListenAddress("::1", 0)),
        probe_listen_address=ListenAddress("", 2),
        telemetry_path="/m",
        auto_reload_interval=90,
        enable_lifecycle=True,
        log_level=LogLevel.DEBUG,
        log_format=LogFormat.JSON,
        shard=Shard(1, 3),
    )


def test_serve_ignores_sighup_while_starting(config: Path) -> None:
    handlers = []

    def serve(_settings: Settings, _options: ServeOptions) -> int:
        handlers.append(signal.getsignal(signal.SIGHUP))
        return 0

    before = signal.getsignal(signal.SIGHUP)
    assert main(["--config.file", str(config)], serve) == 0
    assert handlers == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGHUP) is before


def test_flag_after_the_command_takes_precedence(config: Path) -> None:
    assert options_of(["--log.level=debug", "serve", "--log.level=error"], config).log_level is LogLevel.ERROR


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_flags_are_read_from_the_environment(command: list[str], config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CONFIG_FILE": str(config),
        "WEB_LISTEN_ADDRESS": "127.0.0.1:1, [::1]:0",
        "WEB_PROBE_LISTEN_ADDRESS": ":2",
        "WEB_TELEMETRY_PATH": "/m",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "SHARD": "1/3",
        "CONFIG_AUTO_RELOAD_INTERVAL": "0",
        "WEB_ENABLE_LIFECYCLE": "true",
    }.items():
        monkeypatch.setenv(f"COGNITO_DEVICE_EXPORTER_{name}", value)
    served = Served()
    assert main(command, served) == 0
    assert served.options == ServeOptions(
        config_file=config,
        listen_addresses=(ListenAddress("127.0.0.1", 1), ListenAddress("::1", 0)),
        probe_listen_address=ListenAddress("", 2),
        telemetry_path="/m",
        auto_reload_interval=0,
        enable_lifecycle=True,
        log_level=LogLevel.DEBUG,
        log_format=LogFormat.JSON,
        shard=Shard(1, 3),
    )


def test_flag_takes_precedence_over_its_variable(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGNITO_DEVICE_EXPORTER_LOG_LEVEL", "error")
    assert options_of(["--log.level=debug", "serve"], config).log_level is LogLevel.DEBUG
    assert options_of(["serve", "--log.level=debug"], config).log_level is LogLevel.DEBUG
    assert options_of(["serve"], config).log_level is LogLevel.ERROR


def test_kubernetes_service_variables_are_ignored(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_10617_TCP", "VERSION"):
        monkeypatch.setenv(f"COGNITO_DEVICE_EXPORTER_{name}", "tcp://10.0.0.1:10617")
    assert options_of([], config).listen_addresses == (ListenAddress("", 10617),)


def test_environment_variable_of_a_flag() -> None:
    assert environment_variable("--web.listen-address") == "COGNITO_DEVICE_EXPORTER_WEB_LISTEN_ADDRESS"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["bogus"], "error: No such command 'bogus', try 'cognito-device-exporter --help'"),
        (["--bogus"], "error: No such option '--bogus', try 'cognito-device-exporter --help'"),
        (["--log.level=loud"], "'loud' is not one of 'debug', 'info', 'warn', 'error'"),
        (["--web.listen-address=10617"], "'10617' has no port, expected HOST:PORT or :PORT"),
        (["serve", "--web.probe-listen-address=x"], "'x' has no port"),
        (
            ["--web.listen-address=127.0.0.1:99999"],
            "'127.0.0.1:99999' has a port out of range, expected one from 1 to 65535, or 0 for any free port",
        ),
        (["--web.telemetry-path=/-/ready"], "'/-/ready' is reserved"),
        (["--web.listen-address=:1", "--web.probe-listen-address=:1"], "duplicate listen address :1"),
        (["--shard", "2/2"], "'2/2' has no shard 2, expected one from 0 to 1"),
        (["serve", "--shard=0/0"], "'0/0' has a shard count of 0, expected at least 1"),
        (["--shard=two"], "'two' is not a shard, expected I/N such as 0/3, or auto/3 in a pod of a StatefulSet"),
        (["--config.auto-reload-interval=soon"], "'soon' is not a duration, expected one such as 30s, or 0"),
        (["--config.auto-reload-interval=99ms"], "'99ms' is too short, expected at least 100ms, or 0"),
        (["check-config"], "Missing argument 'FILE', try 'cognito-device-exporter check-config --help'"),
        (["check-config", ""], "Invalid value for 'FILE': empty, expected a file name"),
        (["serve", "--web.config.file="], "empty, expected a file name"),
        (["--config.file", ""], "empty, expected a file name"),
        (["identify"], "Missing argument 'USER', try 'cognito-device-exporter identify --help'"),
        (["demo", "--web.listen-address=:65536"], "':65536' has a port out of range"),
        (
            ["healthcheck", "--web.listen-address=127.0.0.1:0"],
            "address 127.0.0.1:0 has no fixed port; healthcheck needs one",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_prints_one_line_and_exits_2(args: list[str], said: str, capsys: Capture) -> None:
    error = refused(args, capsys)
    assert said in error
    assert error.startswith("cognito-device-exporter: error: ")
    assert error.endswith(" --help'")


def test_invalid_configuration_prints_each_error_and_exits_2(config: Path, capsys: Capture) -> None:
    config.write_text(f"{ONE_POOL}    detail: all\n    identity: none\n", encoding="utf-8")
    for args in (["--config.file", str(config)], ["check-config", str(config)]):
        assert main(args, Served()) == 2
        assert capsys.readouterr().err.splitlines() == [
            f'{config}:3: pools[0].detail: unknown value, expected pool, user or device (found "all")',
            f'{config}:4: pools[0].identity: unknown value, expected hmac or raw (found "none")',
        ]


def test_unreadable_file_is_reported_like_a_missing_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret.yaml").write_text(ONE_POOL, encoding="utf-8")
    (tmp_path / "secret.yaml").chmod(0)
    # Root can read every file, so the program changes its user. It can then access only its current directory.
    program = (
        "import os, sys; from exporter.cli import main; os.getuid() or os.setuid(65534); "
        "codes = [main(line.split()) for line in sys.argv[1:]]; sys.exit(codes != [2] * len(codes))"
    )
    commands = [
        *("check-config secret.yaml", "check-config missing.yaml"),
        *("--config.file=secret.yaml", "demo --web.config.file=secret.yaml"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", program, *commands], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines() == [
        "secret.yaml: cannot be read, expected a readable file (found: Permission denied)",
        "missing.yaml: cannot be read, expected a readable file (found: No such file or directory)",
        "secret.yaml: cannot be read, expected a readable file (found: Permission denied)",
        "secret.yaml: cannot be read, expected a readable file (found: Permission denied)",
    ]
    assert done.returncode == 0


def test_auto_shard_takes_the_ordinal_of_the_host_name(config: Path, capsys: Capture) -> None:
    code = main(["--config.file", str(config), "--shard=auto/1000000"], Served())
    pod = re.search("-[0-9]+$", socket.gethostname().partition(".")[0])
    assert code == (0 if pod else 2)
    assert pod or f"requires an ordinal in the host name '{socket.gethostname()}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_shards_without_a_shared_key_exit_2(command: list[str], config: Path, capsys: Capture) -> None:
    config.write_text(KEYLESS, encoding="utf-8")
    assert refused(["--config.file", str(config), *command, "--shard=0/2"], capsys) == (
        "eu-west-1_AbCdEfGhI: --shard 0/2 with identity hmac and detail user needs a key that all shards share, "
        "expected identity_key_file"
    )
    assert options_of([*command, "--shard=0/1"], config).shard == Shard(0, 1)


def test_exit_code_is_that_of_serve(config: Path) -> None:
    assert main(["--config.file", str(config)], Served(code=1)) == 1


@pytest.mark.parametrize("error", [ExporterError("it broke"), OSError("it broke")])
def test_runtime_error_exits_1(error: Exception, config: Path, capsys: Capture) -> None:
    def fail(_settings: Settings, _options: ServeOptions) -> int:
        raise error

    assert main(["--config.file", str(config)], fail) == 1
    assert capsys.readouterr().err.strip() == "it broke"


def test_ctrl_c_exits_130(config: Path, capsys: Capture) -> None:
    def interrupted(_settings: Settings, _options: ServeOptions) -> int:
        raise KeyboardInterrupt

    assert main(["--config.file", str(config)], interrupted) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


@pytest.mark.parametrize(("pools", "said"), [(1, "1 pool"), (2, "2 pools")])
def test_check_config_counts_the_pools(pools: int, said: str, config: Path, capsys: Capture) -> None:
    config.write_text("pools:\n" + "".join(f"  - id: eu-west-1_Pool{n}\n" for n in range(pools)), encoding="utf-8")
    assert main(["check-config", str(config)]) == 0
    assert capsys.readouterr().out == f"{config}: OK ({said})\n"


def test_version_names_program_revision_and_python(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"cognito-device-exporter, version {re.escape(__version__)} \(revision: [0-9a-z]+\)", first)
    assert re.fullmatch(r"  python version: +3\.\d+\.\d+.*", second)


def test_help_names_every_command(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in ("serve", "check-config", "identify", "healthcheck", "demo"))


# identify


def hmac_label(pool_id: str, username: str, key: bytes = KEY) -> str:
    return hmac.new(key, f"{pool_id}\0{username}".encode(), hashlib.sha256).hexdigest()[:32]


def test_identify_prints_the_label_of_each_pool(config: Path, capsys: Capture) -> None:
    key = config.parent / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(KEY)
    config.write_text(
        f"{ONE_POOL}    identity_key_file: identity.key\n  - id: us-east-1_B\n    identity: raw\n", "utf-8"
    )
    assert main(["identify", "--config.file", str(config), "Ünï"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"eu-west-1_AbCdEfGhI {hmac_label('eu-west-1_AbCdEfGhI', 'Ünï')}",
        "us-east-1_B Ünï",
    ]


def test_identify_rejects_an_empty_name(config: Path, capsys: Capture) -> None:
    config.write_text(f"{ONE_POOL}    identity: raw\n", encoding="utf-8")
    assert "USER is empty, expected a user name" in refused(["identify", "--config.file", str(config), ""], capsys)


def test_identify_without_a_key_prints_no_label_and_exits_2(config: Path, capsys: Capture) -> None:
    config.write_text(f"{ONE_POOL}  - id: us-east-1_B\n    identity: raw\n", encoding="utf-8")
    assert main(["--config.file", str(config), "identify", "alice"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        "eu-west-1_AbCdEfGhI: no key for identity hmac: expected identity_key_file or state.path in the configuration\n"
    )


def test_identify_reads_the_key_next_to_the_state_file(config: Path, capsys: Capture) -> None:
    config.write_text(KEYLESS, encoding="utf-8")
    key = stored_identity_key(config.parent / "state.db")
    assert main(["identify", "--config.file", str(config), "bob"]) == 0
    assert capsys.readouterr().out == f"eu-west-1_AbCdEfGhI {hmac_label('eu-west-1_AbCdEfGhI', 'bob', key)}\n"


def test_identify_prefers_the_configured_key_file(config: Path, capsys: Capture) -> None:
    stored_identity_key(config.parent / "state.db")
    key = config.parent / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(KEY)
    config.write_text(f"defaults: {{identity_key_file: identity.key}}\n{KEYLESS}", encoding="utf-8")
    assert main(["identify", "--config.file", str(config), "bob"]) == 0
    assert capsys.readouterr().out == f"eu-west-1_AbCdEfGhI {hmac_label('eu-west-1_AbCdEfGhI', 'bob')}\n"


def test_identify_does_not_create_a_key_and_exits_2(config: Path, capsys: Capture) -> None:
    config.write_text(KEYLESS, encoding="utf-8")
    assert main(["identify", "--config.file", str(config), "bob"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        f"eu-west-1_AbCdEfGhI: no key for identity hmac: {config.parent}/state.db.key does not exist; "
        "the exporter creates it next to its state file at its first start\n"
    )
    assert [path.name for path in config.parent.iterdir()] == ["config.yaml"]


# healthcheck


@contextmanager
def health_server(status: int) -> Iterator[str]:
    """Run a server whose `/-/healthy` returns a status, and yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/-/healthy" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Do nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104 - queried, not bound
def test_healthcheck_queries_this_machine(host: str, capsys: Capture) -> None:
    with health_server(200) as port:
        assert main(["healthcheck", "--web.listen-address", f"{host}:{port}"]) == 0
    assert capsys.readouterr().err == ""


def test_healthcheck_uses_the_probe_address_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with health_server(200) as port:
        monkeypatch.setenv("COGNITO_DEVICE_EXPORTER_WEB_PROBE_LISTEN_ADDRESS", f":{port}")
        assert main(["healthcheck", "--web.listen-address=127.0.0.1:9"]) == 0


@pytest.mark.parametrize("status", [503, 404, 204])
def test_healthcheck_exits_1_if_the_status_is_not_200(status: int, capsys: Capture) -> None:
    with health_server(status) as port:
        assert main(["healthcheck", f"--web.listen-address=:{port}"]) == 1
    assert capsys.readouterr().err == f"http://127.0.0.1:{port}/-/healthy returned status {status}\n"


def test_healthcheck_exits_1_without_a_server(capsys: Capture) -> None:
    with health_server(200) as port:
        pass
    assert main(["healthcheck", f"--web.listen-address=:{port}"]) == 1
    assert "is not responding: " in capsys.readouterr().err


def test_healthcheck_times_out_on_a_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unhealthy, match="is not responding"):
        check_health(ListenAddress("127.0.0.1", silent.getsockname()[1]), timeout=0.1)


def test_healthcheck_deadline_covers_the_whole_request() -> None:
    stop = Event()

    def send_slowly(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not stop.wait(0.02):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=send_slowly, args=[server])
        thread.start()
        try:
            with pytest.raises(Unhealthy, match=r"no response within 0\.2s"):
                check_health(ListenAddress("127.0.0.1", server.getsockname()[1]), timeout=0.2)
        finally:
            stop.set()
            thread.join()


# The process


def test_process_exits_with_the_code_and_imports_no_boto3(tmp_path: Path) -> None:
    arguments = ["-X", "importtime", "-m", "exporter", "check-config", "missing.yaml"]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    *imports, said = done.stderr.splitlines()
    assert done.returncode == 2
    assert said == "missing.yaml: cannot be read, expected a readable file (found: No such file or directory)"
    assert not any(re.search(r"\| +(boto3|botocore|moto|prometheus_client)$", line) for line in imports)
