"""Setup of structured logging, one line per event.

Three rules keep secrets and user names out of the log:

* Libraries are logged at level warning and above only, because botocore's debug output contains credentials and
  signed headers.
* Only the first line of a library's message is logged.
* Of exceptions that are not the exporter's own, only type and location are logged, because messages from AWS contain
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

ROOT_LOGGER = "exporter"
"""Parent of all loggers of the exporter."""

_LIBRARIES = ("apscheduler", "boto3", "botocore", "s3transfer", "urllib3")

_MAX_LIBRARY_MESSAGE = 500
"""Maximum length of a library's message in characters."""

_MAX_CHAIN = 8
"""Maximum number of exceptions of a chain that are logged."""

_UNQUOTED = re.compile(r"[!#-<>-\[\]-~]+")
"""Values that need no quotes in logfmt: visible ASCII except space, `"`, `=` and backslash."""


class LogLevel(StrEnum):
    """Minimum log level."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    @property
    def number(self) -> int:
        """Numeric level of the standard library."""
        return int(getattr(logging, "WARNING" if self is LogLevel.WARN else self.name))


class LogFormat(StrEnum):
    """Log format."""

    LOGFMT = "logfmt"
    JSON = "json"


def configure_logging(level: LogLevel, log_format: LogFormat, stream: TextIO) -> None:
    """Log events of the exporter and its libraries, and uncaught exceptions, to a stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(log_format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    library_level = max(level.number, logging.WARNING)
    root.setLevel(library_level)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(library_level)
    # APScheduler warns about each run that is due while a sweep is in progress; sweeps report overruns themselves.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
    logging.getLogger(ROOT_LOGGER).setLevel(level.number)
    # If the stream fails, the standard library would print the record with its arguments to stderr.
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
        foreign_pre_chain=[_shorten_library_message],
        processors=[
            _add_header,
            _add_exception,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            render,
        ],
    )


def _shorten_library_message(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Truncate a library's message to its first line, because a traceback with values may follow."""
    lines = str(event["event"]).splitlines() or [""]
    event["event"] = lines[0][:_MAX_LIBRARY_MESSAGE]
    event["logger"] = event["_record"].name
    event.pop("stack_info", None)
    return event


def _add_header(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add time, level and message as the first fields."""
    record: logging.LogRecord = event["_record"]
    time = datetime.fromtimestamp(record.created, UTC)
    header = {
        "ts": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _level_name(record.levelno),
        "msg": event.pop("event"),
    }
    return header | {name: value for name, value in event.items() if name not in header}


def _level_name(number: int) -> str:
    if number >= logging.ERROR:
        return LogLevel.ERROR
    if number >= logging.WARNING:
        return LogLevel.WARN
    return LogLevel.INFO if number >= logging.INFO else LogLevel.DEBUG


def _add_exception(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Replace exception information with one field."""
    error = event.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exception()
    if isinstance(error, BaseException):
        event["exception"] = describe_exception(error)
    return event


def _render_logfmt(_logger: WrappedLogger, _name: str, event: EventDict) -> str:
    # structlog's own renderer does not escape carriage returns and terminal control sequences.
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "null" if value is None else str(value)
    return text if _UNQUOTED.fullmatch(text) else json.dumps(text)


def describe_exception(error: BaseException) -> str:
    """Return types and frames of an exception and its causes, with the messages of the exporter's own errors only."""
    return " <- ".join(_describe_one(cause) for cause in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < _MAX_CHAIN:
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
    logging.getLogger(ROOT_LOGGER).error("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
