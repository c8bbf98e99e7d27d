"""Standard output, to which commands print what they were asked for: it may be closed, or be full."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import ExporterError


class StdoutClosed(ExporterError):
    """There is no standard output."""


def require_stdout(wanted: str) -> None:
    """Raise `StdoutClosed` where nobody would see what is `wanted`."""
    if sys.stdout is None:  # as Python has it for a process that was started without one
        raise StdoutClosed(f"standard output is closed, expected somewhere to print {wanted}")


@contextmanager
def writing_to_stdout() -> Iterator[None]:
    """Name standard output in the `OSError` of a write to it; a `BrokenPipeError` stays what it is."""
    try:
        yield
    except BrokenPipeError:  # nobody reads any more: no fault of the output
        raise
    except OSError as error:
        raise OSError(f"standard output cannot be written: {error.strerror or error}") from error
