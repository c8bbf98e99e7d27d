"""Canaries in every input of the program: none appears in any output, with any kind of error."""

from __future__ import annotations

import os
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import bcrypt
import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.session import Session as BotocoreSession

from exporter.aws.api import CognitoApi
from exporter.aws.sessions import AwsApis
from exporter.config.load import parse_settings
from exporter.config.settings import TargetSettings
from exporter.daemon.app import App
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.options import ListenAddress, ServeOptions
from tests.acceptance.privacy import canaries as c
from tests.acceptance.privacy import hostile_aws as aws
from tests.acceptance.privacy.hostile_aws import HostileAws
from tests.fakes import eventually
from tests.harness import (
    CLASSIC,
    FAST,
    FAST_RETRIES,
    OPENMETRICS,
    Exporter,
    Program,
    captured_log,
    program,
    serving_program,
)
from tests.integration.command_line import CommandLine

HASHED = bcrypt.hashpw(c.PASSWORD.encode(), bcrypt.gensalt(4)).decode()
ALL = c.everything(HASHED)
CHOSEN_HIDDEN = ALL.without(c.NAME, c.SECOND_NAME, c.EMAIL, c.DEVICE_NAME)
"""Values that stay hidden with `raw` and the attribute `device_name`."""

QUICK_TO_END = (aws.GOOD, aws.DENIED, aws.NO_LISTING, aws.ASSUMED, aws.CHOSEN, aws.IN_GROUP)
"""Pools whose sweep is not delayed by retries."""

PAGES = ("/", "/api/v1/status", "/-/healthy", "/-/ready", "/metrics?name[]=cognito_device_info", f"/{'x' * 50}")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": c.ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": c.SECRET_KEY,
    "AWS_SESSION_TOKEN": c.SESSION_TOKEN,
}
SELECTED = [c.NAME, c.SECOND_NAME, c.EMAIL]


@pytest.fixture
def hostile() -> Iterator[HostileAws]:
    with aws.hostile_aws() as running:
        yield running


def configuration(endpoint: str, directory: Path, **defaults: object) -> dict[str, object]:
    key = directory / "identity.key"
    key.touch(mode=0o600)
    key.write_text(c.IDENTITY_KEY)
    troubled = (aws.GOOD, aws.DENIED, aws.BROKEN_DOWN, aws.CUT_OFF, aws.WRONG_TYPES, aws.ODD_CODES, aws.NO_LISTING)
    return {
        "defaults": {
            "refresh_interval": "1s",
            "endpoint_url": endpoint,
            "detail": "device",
            "identity_key_file": str(key),
            **defaults,
        },
        "pools": [
            *({"id": pool_id} for pool_id in troubled),
            {"id": aws.ASSUMED, "role_arn": c.ROLE_ARN, "external_id": c.EXTERNAL_ID},
            {"id": aws.CHOSEN, "users": {"usernames": SELECTED}},
            {"id": aws.IN_GROUP, "users": {"groups": [c.GROUP]}},
        ],
        "limits": {"rate": dict(FAST)},
        "state": {"path": "state.db"},
    }


@contextmanager
def protected(document: dict[str, object], directory: Path, sts: str) -> Iterator[ProtectedProgram]:
    """Run the program with passwords, reload and all credentials in its environment."""
    web = directory / "web.yaml"
    web.write_text(yaml.safe_dump({"basic_auth_users": {c.WEB_USER: HASHED}}))
    with serving_program(
        yaml.safe_dump(document),
        directory,
        sts,
        "--web.enable-lifecycle",
        f"--web.config.file={web}",
        "--log.level=debug",
        **CREDENTIALS,
    ) as running:
        yield ProtectedProgram(running, directory)


class ProtectedProgram:
    """Program with a password, and all of its output."""

    def __init__(self, program: Program, directory: Path) -> None:
        self.program = program
        self.directory = directory
        self.answers: list[bytes] = []

    def ask(self, path: str, method: str = "GET", password: str = c.PASSWORD, **headers: str) -> tuple[int, bytes]:
        parts = urlsplit(self.program.url)
        connection = HTTPConnection(parts.netloc, timeout=20)
        try:
            sent = {"Authorization": authorization(password), **headers}
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        self.answers += [body, str(response.getheaders()).encode()]
        return response.status, body

    def metrics(self, style: str = CLASSIC) -> bytes:
        return self.ask("/metrics", Accept=style)[1]

    def look_at_everything(self) -> None:
        for style in (CLASSIC, OPENMETRICS):
            self.metrics(style)
        for path in PAGES:
            self.ask(path)

    def state(self) -> Mapping[str, bytes]:
        """Return the state file and its companions."""
        return {file.name: file.read_bytes() for file in self.directory.glob("state.db*")}

    @property
    def log(self) -> bytes:
        return (self.program.log_text + self.program.out).encode()

    def has_swept(self, *pool_ids: str) -> bool:
        page = self.metrics().decode()
        return all(f'cognito_exporter_sweeps_total{{user_pool_id="{pool_id}"}} 0.0' not in page for pool_id in pool_ids)

    def is_refused(self) -> None:
        """Assert that the files are rejected, and that the reason leaks nothing."""
        status, reason = self.ask("/-/reload", "POST")
        assert status == 500
        assert not ALL.found_in(reason), reason

    def holds(self, content: bytes) -> int:
        """Count occurrences in the state file and its WAL."""
        return sum(found.count(content) for found in self.state().values())


def authorization(password: str) -> str:
    return "Basic " + b64encode(f"{c.WEB_USER}:{password}".encode()).decode()


def pools_of(document: dict[str, object]) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", document["pools"])


def wrong_configurations(document: dict[str, object]) -> Iterator[str]:
    """Return files with an error in, next to or around each secret."""
    good = yaml.safe_dump(document)
    for pool in (
        {"id": aws.GOOD, "external_id": f"{c.EXTERNAL_ID} with spaces", "role_arn": c.ROLE_ARN},
        {"id": aws.GOOD, "external_id": c.EXTERNAL_ID},
        {"id": aws.GOOD, "role_arn": f"{c.ROLE_ARN} "},
        {"id": aws.GOOD, "role_arn": [c.ROLE_ARN]},
        {"id": aws.GOOD, "endpoint_url": f"http://user:{c.ENDPOINT_PASSWORD}@127.0.0.1"},
        {"id": aws.GOOD, "users": {"usernames": [c.NAME, c.NAME]}},
        {"id": aws.GOOD, "users": {"usernames": c.NAME}},
        {"id": aws.GOOD, "users": {"usernames": [{c.NAME: c.EMAIL}]}},
        {"id": aws.GOOD, "users": c.NAME},
        {"id": aws.GOOD, "users": {"groups": [c.GROUP, c.GROUP], "filter": f'username = "{c.NAME}"'}},
    ):
        yield yaml.safe_dump({**document, "pools": [pool]})
    yield good + f"\nusernames: [{c.NAME}\n"
    yield good.replace("external_id: ", "external_id:")
    yield good + f"\n\texternal_id: {c.EXTERNAL_ID}\n"
    yield good + f"\nexternal_id: !{c.EXTERNAL_ID} {c.NAME}\n"
    yield good + f"\nexternal_id: &{c.EXTERNAL_ID} {c.NAME}\n"
    yield good + f"\nexternal_id: *{c.EXTERNAL_ID}\n"
    yield good + f'\nexternal_id: "{c.EXTERNAL_ID}\n'
    yield good.replace("detail: device", f'detail: "{HASHED}"')
    yield good.replace("refresh_interval: 1s", f"refresh_interval: {c.ROLE_ARN}")
    for another_file in (c.IDENTITY_KEY, c.PASSWORD, HASHED, f"{c.WEB_USER}:{HASHED}"):
        yield f"{another_file}\n"
    for item in (c.NAME, c.EMAIL, c.GROUP):
        yield yaml.safe_dump({**document, "pools": [item]})
        yield yaml.safe_dump({**document, "pools": item})
    yield good + f"\nx: !{c.PASSWORD}!x y\n"


def wrong_web_configurations() -> Iterator[str]:
    yield yaml.safe_dump({"basic_auth_users": {c.WEB_USER: c.PASSWORD}})
    yield yaml.safe_dump({"basic_auth_users": {c.WEB_USER: HASHED[:-1]}})
    yield yaml.safe_dump({"basic_auth_users": {c.WEB_USER: [HASHED]}})
    yield yaml.safe_dump({"basic_auth_users": [c.WEB_USER, HASHED, c.PASSWORD]})
    yield yaml.safe_dump({"basic_auth_users": f"{c.WEB_USER}:{HASHED}"})
    yield f"basic_auth_users: {{{c.WEB_USER}: {HASHED}"
    yield f"basic_auth_users:\n  {c.WEB_USER}:{HASHED}\n"
    yield f"{c.WEB_USER}:{HASHED}\n"
    yield f"{c.PASSWORD}\n"
    yield yaml.safe_dump({"http_server_config": f"{c.WEB_USER}:{HASHED}"})
    yield yaml.safe_dump({"http_server_config": {"headers": {"X-Frame-Options": HASHED}}})
    yield yaml.safe_dump({"tls_server_config": c.PASSWORD})


def test_program_leaks_nothing_in_normal_operation(hostile: HostileAws, tmp_path: Path) -> None:
    document = configuration(hostile.url, tmp_path)
    file, web = tmp_path / "config.yaml", tmp_path / "web.yaml"
    with protected(document, tmp_path, hostile.url) as running:
        good, good_web = file.read_text(), web.read_text()
        hostile.role_works = True
        assert eventually(lambda: running.has_swept(*QUICK_TO_END), within=60)
        assert eventually(lambda: running.holds(b"device") > 0, within=30)
        while_running = running.state()
        for path in PAGES:
            assert running.ask(path, password=c.WRONG_PASSWORD)[0] in {200, 401, 503}
        running.look_at_everything()
        for text in wrong_configurations(document):
            file.write_text(text)
            running.is_refused()
        file.write_text(good)
        for text in wrong_web_configurations():
            web.write_text(text)
            running.is_refused()
        web.write_text(good_web)
        assert running.ask("/-/reload", "POST")[0] == 200
        running.look_at_everything()
        assert running.program.end(signal.SIGTERM) == 0
    assert running.program.events("configuration reload failed; keeping current configuration")
    assert not ALL.found_in(running.log), running.log.decode()
    for answer in running.answers:
        assert not ALL.found_in(answer), answer
    for name, content in (*while_running.items(), *running.state().items()):
        assert not ALL.found_in(content), name


def test_chosen_names_are_on_metrics_only(hostile: HostileAws, tmp_path: Path) -> None:
    document = configuration(hostile.url, tmp_path, identity="raw", device_attributes=["device_name"])
    with protected(document, tmp_path, hostile.url) as running:
        assert eventually(lambda: running.has_swept(*QUICK_TO_END), within=60)
        page = running.metrics()
        assert set(ALL.found_in(page)) == {c.NAME, c.SECOND_NAME, c.EMAIL, c.DEVICE_NAME}
        pages = [running.ask(path)[1] for path in ("/", "/api/v1/status", "/-/ready")]
        assert eventually(lambda: running.holds(c.DEVICE_NAME.encode()) > 0, within=30)
        assert running.program.end(signal.SIGTERM) == 0
    assert not ALL.found_in(running.log), running.log.decode()
    assert not any(map(ALL.found_in, pages))
    for name, content in running.state().items():
        assert not CHOSEN_HIDDEN.found_in(content), name


@pytest.mark.parametrize("log_format", LogFormat)
def test_failing_sweeps_leak_nothing(hostile: HostileAws, tmp_path: Path, log_format: LogFormat) -> None:
    document = configuration(hostile.url, tmp_path)
    document["pools"] = [*pools_of(document), {"id": aws.BEYOND, "endpoint_url": NOWHERE}]
    everyone = [str(pool["id"]) for pool in pools_of(document)]
    settings = parse_settings(yaml.safe_dump(document), str(tmp_path / "config.yaml"))
    options = ServeOptions(tmp_path / "config.yaml", (ListenAddress("127.0.0.1", 0),))
    real = AwsApis(lambda: session(tmp_path, hostile.url))

    def make_api(target: TargetSettings) -> CognitoApi:
        return cast("CognitoApi", FailingApi()) if target.endpoint_url == NOWHERE else real(target)

    with captured_log() as log:
        configure_logging(LogLevel.DEBUG, log_format, log.stream)
        app = App(settings, options, make_api=make_api, retry_policy=FAST_RETRIES)
        app.start()
        try:
            running = Exporter(f"http://{app.addresses[0]}")
            running.after_first_sweep(*everyone)
            answers = [running.get(path, {"Accept": style}).body for path in PAGES for style in (CLASSIC, OPENMETRICS)]
            page = running.scrape()
        finally:
            app.stop()
    failed = {reason for pool_id in everyone for reason in page.failures(FAILURES, user_pool_id=pool_id)}
    assert failed >= {"denied", "server_error", "malformed", "other", "invalid_request"}
    assert "unexpected error in sweep" in log.text
    assert "RuntimeError" in log.text
    assert not ALL.found_in(log.text.encode()), log.text
    assert not any(map(ALL.found_in, answers))


FAILURES = "cognito_exporter_sweep_failures_total"
NOWHERE = "http://127.0.0.1:1"


class FailingApi:
    """API whose unexpected errors have names in the message, the cause and the frames."""

    def __getattr__(self, operation: str) -> Callable[..., object]:
        def fail(*_: object, **__: object) -> object:
            name, secret = c.NAME, {"token": c.SESSION_TOKEN}
            try:
                return secret[c.ROLE_ARN]
            except KeyError as error:
                raise RuntimeError(f"{operation} of {name} from {c.IP}: {secret}", c.EMAIL) from error

        return fail


def session(directory: Path, sts_url: str) -> boto3.Session:
    """Return a session with canaries as credentials."""
    settings = directory / "aws.ini"
    settings.write_text(f"[default]\nservices = local\n[services local]\nsts =\n  endpoint_url = {sts_url}\n")
    core = BotocoreSession(profile="default")
    core.set_config_variable("config_file", str(settings))
    core.set_config_variable("credentials_file", os.devnull)
    core.set_default_client_config(Config(proxies={}))
    core.set_credentials(c.ACCESS_KEY, c.SECRET_KEY, c.SESSION_TOKEN)
    return boto3.Session(botocore_session=core)


@pytest.mark.parametrize("command", ["check-config", "plan", "report", "check-config --aws"])
def test_one_off_commands_leak_nothing_in_errors(hostile: HostileAws, tmp_path: Path, command: str) -> None:
    document = configuration(hostile.url, tmp_path)
    document["pools"] = [pool for pool in pools_of(document) if pool["id"] in {*QUICK_TO_END, aws.ASSUMED}]
    file = tmp_path / "config.yaml"
    # `check-config --aws` prints the role, because the operator wrote it and must fix it.
    hidden = ALL.without(c.ROLE, c.ROLE_ARN) if command.endswith("--aws") else ALL
    name, *flags = command.split()
    arguments = [*([] if name == "check-config" else ["--config.file"]), str(file), *flags]
    file.write_text(yaml.safe_dump(document))
    with program([name, *arguments], tmp_path, hostile.url, **CREDENTIALS) as running:
        running.process.wait(60)
        assert "Traceback" not in running.log_text
        assert not hidden.found_in((running.log_text + running.out).encode()), running.log_text + running.out


def test_rejected_configuration_is_not_quoted(tmp_path: Path, run: CommandLine) -> None:
    document = configuration("http://127.0.0.1:1", tmp_path)
    for text in wrong_configurations(document):
        run.file.write_text(text)
        ended = run.run("check-config", str(run.file))
        assert ended.code == 2, text
        assert not ALL.found_in((ended.out + ended.err).encode()), ended.err
