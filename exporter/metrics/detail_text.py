"""Rendered lines of one detail metric: constant lines, and lines whose values are ages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from exporter.metrics.compression import DeflateChunk, concat, deflate, inflate
from exporter.metrics.spec import Spec
from exporter.metrics.text import FRACTIONS, seconds

_FRACTION = b"\xff"
"""Placeholder for the fractional seconds of the current time: one byte, fast to find, that never occurs in UTF-8."""

_WHOLE = b"%d" + _FRACTION


class Lines:
    """Constant lines, stored only in the form, plain or compressed, that was last requested."""

    __slots__ = ("_kept",)

    def __init__(self, text: bytes) -> None:
        # Threads that request different forms concurrently each get their own; the last assignment is kept.
        self._kept: bytes | DeflateChunk = text

    def plain(self) -> bytes:
        """Return the lines as text."""
        kept = self._kept
        if isinstance(kept, DeflateChunk):
            self._kept = kept = inflate(kept)
        return kept

    def packed(self) -> DeflateChunk:
        """Return the lines compressed."""
        kept = self._kept
        if not isinstance(kept, DeflateChunk):
            self._kept = kept = deflate(kept)
        return kept


@dataclass(frozen=True, slots=True)
class Ages:
    """Lines whose values are ages: a template with one placeholder per line, filled in at scrape time.

    Most timestamps are whole seconds; those of authentications always are. Their ages all have the fractional
    seconds of the current time, which is therefore formatted once and replaces a marker in every line.
    """

    template: bytes
    whole_seconds: array[int]
    """Timestamp of each line in seconds; 0 if it is not a whole number of seconds."""
    uneven: tuple[tuple[int, int], ...]
    """Line number and timestamp in milliseconds of each line whose timestamp is not a whole number of seconds."""
    latest_ms: int

    def at(self, now_ms: int) -> bytes:
        """Return the lines with their ages at `now_ms`; the age of a timestamp in the future is 0."""
        if self.latest_ms > now_ms:
            return self._each_by_itself(now_ms)
        now, rest = divmod(now_ms, 1000)
        # A single formatting call with one flat tuple takes half the time of formatting line by line (measured).
        places: list[int | bytes] = [now - moment for moment in self.whole_seconds]
        for line, moment_ms in self.uneven:
            places[line] = seconds(now_ms - moment_ms).encode()
        return (self.template % tuple(places)).replace(_FRACTION, FRACTIONS[rest])

    def _each_by_itself(self, now_ms: int) -> bytes:
        moments = [moment * 1000 for moment in self.whole_seconds]
        for line, moment_ms in self.uneven:
            moments[line] = moment_ms
        template = self.template.replace(_WHOLE, b"%b")
        return template % tuple([seconds(max(0, now_ms - moment)).encode() for moment in moments])


def ages(series: Sequence[tuple[str, int]]) -> Ages:
    """Return age lines built from the text before each value and each timestamp in milliseconds."""
    template = b"".join(
        [
            head.replace("%", "%%").encode() + (b"%b\n" if moment_ms % 1000 else _WHOLE + b"\n")
            for head, moment_ms in series
        ]
    )
    return Ages(
        template,
        array("q", [0 if moment_ms % 1000 else moment_ms // 1000 for _, moment_ms in series]),
        tuple((line, moment_ms) for line, (_, moment_ms) in enumerate(series) if moment_ms % 1000),
        max(moment_ms for _, moment_ms in series),
    )


Text: TypeAlias = Lines | Ages


class Family:
    """Metric family with its HELP and TYPE lines; the text is the same in both formats."""

    def __init__(self, spec: Spec, texts: Sequence[Text]) -> None:
        self.spec = spec
        head = Lines(f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.kind.value}\n".encode())
        self._lines = [head, *(text for text in texts if isinstance(text, Lines))]
        self._ages = [text for text in texts if isinstance(text, Ages)]
        self._packed: DeflateChunk | None = None

    def plain(self, now_ms: int) -> list[bytes]:
        """Return the family at `now_ms`, in parts."""
        self._packed = None
        return [*(text.plain() for text in self._lines), *(text.at(now_ms) for text in self._ages)]

    def packed(self, now_ms: int) -> list[DeflateChunk]:
        """Return the family at `now_ms`, compressed. Constant lines that are already compressed are reused."""
        if self._packed is None:
            self._packed = concat(text.packed() for text in self._lines)
        if not self._ages:
            return [self._packed]
        return [self._packed, deflate(b"".join([text.at(now_ms) for text in self._ages]))]
