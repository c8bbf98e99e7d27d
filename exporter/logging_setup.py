"""Structured logs, one line each; the only place that sets up logging.

Three rules keep secrets and user names out: libraries are heard at warning and above only (botocore's
debug output holds credentials and signed headers), of their messages only the first line is taken, and
of an exception that is not ours only the type and the place are written, because AWS's messages carry
ARNs and user names.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from traceback import StackSummary, walk_tb
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from exporter.errors import ExporterError

OURS = "exporter"
"""The parent of every logger of this program."""

_CHATTY = ("apscheduler", "boto3", "botocore", "s3transfer", "urllib3", "werkzeug")

_FOREIGN_MAX = 500
"""Characters taken of a library's message."""

_CHAIN_MAX = 8
"""Exceptions of a chain that are written."""

# Everything that can stand in logfmt without quotes: visible ASCII but for the space, " = and \.
_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")


class LogLevel(StrEnum):
    """The least severe events that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The level as the standard library counts it."""
        return int(getattr(logging, "WARNING" if self is LogLevel.WARN else self.name))


class LogFormat(StrEnum):
    """How a line is written."""

    LOGFMT = "logfmt"
    JSON = "json"


def configure_logging(level: LogLevel, log_format: LogFormat, stream: TextIO) -> None:
    """Send the events of this program and of its libraries to a stream, and uncaught exceptions with them."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    foreign_level = max(level.number, logging.WARNING)
    root.setLevel(foreign_level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(foreign_level)
    # It warns of every run that is due while a sweep is still under way; the sweep itself tells of its overrun.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    logging.getLogger(OURS).setLevel(level.number)
    # A stream that breaks must not make the standard library print the record with its arguments.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    _configure_structlog()
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _formatter(log_format: LogFormat) -> logging.Formatter:
    render: Processor = _render_logfmt if log_format is LogFormat.LOGFMT else structlog.processors.JSONRenderer()
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_shorten_foreign],
        processors=[
            _add_head,
            _add_exception,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _order,
            render,
        ],
    )


def _shorten_foreign(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """The first line of a library's message: what follows may be a traceback with its values."""
    lines = str(event["event"]).splitlines() or [""]
    event["event"] = lines[0][:_FOREIGN_MAX]
    event["logger"] = event["_record"].name
    event.pop("stack_info", None)
    return event


def _add_head(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    moment = datetime.fromtimestamp(record.created, UTC)
    event["ts"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event["level"] = _level_name(record.levelno)
    event["msg"] = event.pop("event")
    return event


def _level_name(number: int) -> str:
    if number >= logging.ERROR:
        return LogLevel.ERROR
    if number >= logging.WARNING:
        return LogLevel.WARN
    return LogLevel.INFO if number >= logging.INFO else LogLevel.DEBUG


def _add_exception(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Replace exception information by one field."""
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given is True:
        given = sys.exception()
    if isinstance(given, BaseException):
        event["exception"] = describe_exception(given)
    return event


def _order(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    head = {name: event.pop(name) for name in ("ts", "level", "msg")}
    return {**head, **event}


def _render_logfmt(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    # structlog's own renderer lets carriage returns and terminal escapes through.
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "null" if value is None else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def describe_exception(error: BaseException) -> str:
    """An exception and what caused it, without values: types, frames, and the messages of our own errors only."""
    return " <- ".join(_describe_one(link) for link in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _CHAIN_MAX:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _describe_one(error: BaseException) -> str:
    kind = type(error)
    text = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, ExporterError):
        text += f": {error}"
    if isinstance(error, BaseExceptionGroup):
        text += " (" + "; ".join(describe_exception(inner) for inner in error.exceptions) + ")"
    frames = StackSummary.extract(walk_tb(error.__traceback__), lookup_lines=False)
    return text + "".join(f" at {frame.filename}:{frame.lineno}({frame.name})" for frame in frames)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger(OURS).error("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not issubclass(given.exc_type, SystemExit):
        _log_uncaught(given.exc_type, given.exc_value, given.exc_traceback)
