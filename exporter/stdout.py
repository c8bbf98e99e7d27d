"""Standard output of the commands, which may be closed or full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import ExporterError


class StdoutClosed(ExporterError):
    """Error for a process without standard output."""


def require_stdout(content: str) -> None:
    """Raise `StdoutClosed` if there is no standard output to print `content` to."""
    if sys.stdout is None:  # Python sets it to None in a process that was started with it closed
        raise StdoutClosed(f"standard output is closed; cannot print {content}")


@contextmanager
def writing_to_stdout() -> Iterator[None]:
    """Mention standard output in the `OSError` of a write to it; a `BrokenPipeError` is raised unchanged."""
    try:
        yield
    except BrokenPipeError:  # the reader closed the pipe
        raise
    except OSError as error:
        raise OSError(f"cannot write to standard output: {error.strerror or error}") from error
