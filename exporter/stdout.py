"""Errors of standard output, which may be closed or full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import ExporterError


class StdoutClosed(ExporterError):
    """Standard output is closed."""


def require_stdout(wanted: str) -> None:
    """Raise `StdoutClosed` if the command cannot print its output, which is called `wanted`."""
    if sys.stdout is None:  # the process was started without one
        raise StdoutClosed(f"standard output is closed, expected somewhere to print {wanted}")


@contextmanager
def writing_to_stdout() -> Iterator[None]:
    """Name standard output in the `OSError` of a write to it, except in a `BrokenPipeError`."""
    try:
        yield
    except BrokenPipeError:  # the reader has stopped: not an error of the output
        raise
    except OSError as error:
        raise OSError(f"standard output cannot be written: {error.strerror or error}") from error
