"""The lines of one detail metric: those that stay as they are, and those whose values are ages."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from exporter.metrics.compression import Packed, joined, pack, unpack
from exporter.metrics.spec import Spec
from exporter.metrics.text import FRACTIONS, seconds

_FRACTION = b"\xff"
"""Where the fraction of now belongs; a single byte, which is found fastest, and one that no UTF-8 has."""

_WHOLE = b"%d" + _FRACTION


class Lines:
    """Lines that stay as they are, kept in the form in which they were last asked for and in no other."""

    __slots__ = ("_kept",)

    def __init__(self, text: bytes) -> None:
        # Threads that ask for different forms at the same time each get theirs; the last one's stays.
        self._kept: bytes | Packed = text

    def plain(self) -> bytes:
        """The lines as text."""
        kept = self._kept
        if isinstance(kept, Packed):
            self._kept = kept = unpack(kept)
        return kept

    def packed(self) -> Packed:
        """The lines compressed."""
        kept = self._kept
        if not isinstance(kept, Packed):
            self._kept = kept = pack(kept)
        return kept


@dataclass(frozen=True, slots=True)
class Ages:
    """Lines whose values are ages: a template with one place per line, filled in at scrape time.

    Moments mostly are whole seconds, as those of authentications all are. Their ages have the fraction of
    now in common, so that it need not be formatted for each: a mark awaits it.
    """

    template: bytes
    whole_seconds: array[int]
    """The moments in seconds; 0 where a moment is none of whole seconds."""
    uneven: tuple[tuple[int, int], ...]
    """The lines of the other moments, and these in milliseconds."""
    latest_ms: int

    def at(self, now_ms: int) -> bytes:
        """The lines as of now; a moment in the future has age 0."""
        if self.latest_ms > now_ms:
            return self._each_by_itself(now_ms)
        now, rest = divmod(now_ms, 1000)
        # One flat tuple for one formatting call: measured at half the cost of formatting line by line.
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
    """Lines from what stands before their values, and their moments in milliseconds."""
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
    """One metric over all that is shown, with its head; the same bytes in both formats."""

    def __init__(self, spec: Spec, texts: Sequence[Text]) -> None:
        self.spec = spec
        head = Lines(f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.kind.value}\n".encode())
        self._lines = [head, *(text for text in texts if isinstance(text, Lines))]
        self._ages = [text for text in texts if isinstance(text, Ages)]
        self._packed: Packed | None = None

    def plain(self, now_ms: int) -> list[bytes]:
        """The family as of now, in parts."""
        self._packed = None
        return [*(text.plain() for text in self._lines), *(text.at(now_ms) for text in self._ages)]

    def packed(self, now_ms: int) -> list[Packed]:
        """The family as of now, compressed: of what stays as it is, only what is new."""
        if self._packed is None:
            self._packed = joined(text.packed() for text in self._lines)
        if not self._ages:
            return [self._packed]
        return [self._packed, pack(b"".join([text.at(now_ms) for text in self._ages]))]
