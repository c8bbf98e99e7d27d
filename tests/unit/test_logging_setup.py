"""Format of log lines, and what they must not contain."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings

import pytest
import structlog

from exporter.errors import ExporterError, Throttled
from exporter.logging_setup import LogFormat, LogLevel, configure_logging, describe_exception

HOSTILE = 'a"b\\c\nlevel=error msg=forged\r\x1b[31mred\x9b\u2028\ud800=\t'


pytestmark = pytest.mark.usefixtures("restored_logging")


def logging_to(level: LogLevel = LogLevel.INFO, log_format: LogFormat = LogFormat.LOGFMT) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, log_format, stream)
    return stream


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Raise the error, so that it has a frame and a cause, and return it."""
    secret_local = "s3cret"  # noqa: F841 - must not appear in the log
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_logfmt_event_is_one_line_with_header_first() -> None:
    stream = logging_to()
    structlog.get_logger("exporter.test").warning("sweep finished", pool="eu-west-1_AbC", users=3, ok=True, code=None)
    head, tail = stream.getvalue().split(" ", 1)
    assert tail == 'level=warn msg="sweep finished" pool=eu-west-1_AbC users=3 ok=true code=null\n'
    assert head.startswith("ts=20")
    assert head.endswith("Z")
    assert len(head) == len("ts=2026-01-01T00:00:00.000Z")


def test_json_event_is_one_line() -> None:
    stream = logging_to(log_format=LogFormat.JSON)
    structlog.get_logger("exporter.test").error("sweep failed", pool="eu-west-1_AbC", users=3)
    line = json.loads(stream.getvalue())
    assert list(line) == ["ts", "level", "msg", "pool", "users"]
    assert (line["level"], line["msg"], line["users"]) == ("error", "sweep failed", 3)


@pytest.mark.parametrize("log_format", LogFormat)
def test_hostile_value_stays_in_its_field(log_format: LogFormat) -> None:
    stream = logging_to(log_format=log_format)
    structlog.get_logger("exporter.test").info(HOSTILE, value=HOSTILE)
    logging.getLogger("library").warning("%s", HOSTILE)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert len(lines) == 2
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert all(line.startswith(('{"ts":', "ts=")) for line in lines)


def test_quoted_value_is_valid_json() -> None:
    stream = logging_to()
    structlog.get_logger("exporter.test").info("x", value=HOSTILE, empty="")
    _, _, rest = stream.getvalue().partition(" value=")
    value, _, empty = rest.partition(" empty=")
    assert json.loads(value) == HOSTILE
    assert empty == '""\n'


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (LogLevel.DEBUG, ["debug", "info", "warn", "error"]),
        (LogLevel.INFO, ["info", "warn", "error"]),
        (LogLevel.WARN, ["warn", "error"]),
        (LogLevel.ERROR, ["error"]),
    ],
)
def test_level_is_minimum(level: LogLevel, expected: list[str]) -> None:
    stream = logging_to(level)
    log = structlog.get_logger("exporter.test")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("event")
    assert [line.split("level=")[1].split(" ")[0] for line in stream.getvalue().splitlines()] == expected


@pytest.mark.parametrize("name", ["botocore.auth", "urllib3.connectionpool", "boto3", "apscheduler", "x"])
def test_libraries_are_logged_from_warning_up(name: str) -> None:
    stream = logging_to(LogLevel.DEBUG)
    logging.getLogger(name).debug("Authorization: s3cret")
    logging.getLogger(name).info("Authorization: s3cret")
    logging.getLogger(name).warning("pool is full")
    assert stream.getvalue().split(" ", 1)[1] == f'level=warn msg="pool is full" logger={name}\n'


def test_library_message_is_cut_to_first_line() -> None:
    stream = logging_to()
    logging.getLogger("urllib3.connectionpool").error("Error on request:\nTraceback: s3cret")
    assert "s3cret" not in stream.getvalue()
    assert 'msg="Error on request:"' in stream.getvalue()


def test_python_warning_is_logged() -> None:
    stream = logging_to()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # catch_warnings restores what captureWarnings replaced, so capture again inside.
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old Python", DeprecationWarning, stacklevel=1)
    assert "level=warn" in stream.getvalue()
    assert "DeprecationWarning: old Python" in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize("log_format", LogFormat)
def test_traceback_is_one_field_without_values(log_format: LogFormat) -> None:
    stream = logging_to(log_format=log_format)
    foreign = raised(ValueError("arn:aws:iam::123456789012:user/alice s3cret"))
    ours = raised(Throttled("ListUsers", "TooManyRequestsException"), foreign)
    structlog.get_logger("exporter.test").error("sweep failed", exc_info=ours)
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "exporter.errors.Throttled: ListUsers: TooManyRequestsException at " in text
    assert "test_logging_setup.py:" in text
    assert "(raised) <- ValueError at " in text
    assert "alice" not in text
    assert "s3cret" not in text


def test_log_exception_uses_current_exception() -> None:
    stream = logging_to()
    log = structlog.get_logger("exporter.test")
    try:
        int("s3cret")
    except ValueError:
        log.exception("ours")
        logging.getLogger("apscheduler").exception("theirs")
    ours, theirs = stream.getvalue().splitlines()
    assert 'exception="ValueError at ' in ours
    assert 'exception="ValueError at ' in theirs
    assert "s3cret" not in stream.getvalue()


def test_exception_group_lists_its_exceptions() -> None:
    group = ExceptionGroup("s3cret", [KeyError("alice"), ExporterError("our own text")])
    assert describe_exception(group) == "ExceptionGroup (KeyError; exporter.errors.ExporterError: our own text)"


def test_cyclic_exception_chain_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert describe_exception(first) == "ValueError <- KeyError"


def test_suppressed_context_is_omitted() -> None:
    error = raised(ExporterError("ours"))
    error.__context__ = ValueError()
    assert "ValueError" not in describe_exception(error)


def test_uncaught_exceptions_are_logged() -> None:
    stream = logging_to()
    error = raised(ValueError("s3cret"))
    sys.excepthook(type(error), error, error.__traceback__)

    def fail() -> None:
        raise ValueError("s3cret")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all('msg="uncaught exception"' in line and 'exception="ValueError at ' in line for line in lines)
    assert "s3cret" not in stream.getvalue()


def test_configuring_again_replaces_stream() -> None:
    first, second = logging_to(), logging_to()
    structlog.get_logger("exporter.test").info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_closed_stream_prints_nothing_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    stream = logging_to()
    stream.close()
    structlog.get_logger("exporter.test").info("s3cret")
    assert capsys.readouterr().err == ""
