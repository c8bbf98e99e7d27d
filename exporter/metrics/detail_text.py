"""Rendered lines of one detail metric: constant lines, and lines whose values are ages."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from exporter.collect.snapshot import UserRow
from exporter.config.settings import PoolSettings
from exporter.metrics.compression import DeflateChunk, concat, deflate, inflate
from exporter.metrics.spec import DetailMetric, Spec, ValueFormat
from exporter.metrics.text import FRACTIONS, escape, format_seconds
from exporter.model import Device

T = TypeVar("T")

_FRACTION = b"\xff"
"""Placeholder for the fractional seconds of the current time: one byte, fast to find, that never occurs in UTF-8."""

_WHOLE_SECONDS = b"%d" + _FRACTION


@dataclass(frozen=True, slots=True)
class LabelPrefixes:
    """Label prefixes of the series of some users and their devices, escaped once for all metrics."""

    users: tuple[tuple[str, UserRow], ...]
    devices: tuple[tuple[str, Device], ...]


def label_prefixes(rows: Iterable[UserRow], pool_id: str) -> LabelPrefixes:
    """Return the label prefixes shared by all series of each user and each device."""
    pool = f'user_pool_id="{escape(pool_id)}"'
    users = tuple((f'{pool},user="{escape(row.label)}"', row) for row in rows)
    devices = tuple(
        (f'{prefix},device_key="{escape(device.key)}"', device) for prefix, row in users for device in row.devices
    )
    return LabelPrefixes(users, devices)


class Lines:
    """Constant lines, stored only in the form, plain or compressed, that was last requested."""

    __slots__ = ("_stored",)

    def __init__(self, text: bytes) -> None:
        # Threads that request different forms concurrently each get their own; the last assignment is kept.
        self._stored: bytes | DeflateChunk = text

    def plain(self) -> bytes:
        """Return the lines as text."""
        stored = self._stored
        if isinstance(stored, DeflateChunk):
            self._stored = stored = inflate(stored)
        return stored

    def compressed(self) -> DeflateChunk:
        """Return the lines compressed."""
        stored = self._stored
        if not isinstance(stored, DeflateChunk):
            self._stored = stored = deflate(stored)
        return stored


@dataclass(frozen=True, slots=True)
class AgeLines:
    """Lines whose values are ages: a template with one placeholder per line, filled in at scrape time.

    Most timestamps are whole seconds; those of authentications always are. Their ages all have the fractional
    seconds of the current time, which is therefore formatted once and replaces a marker in every line.
    """

    template: bytes
    whole_seconds: array[int]
    """Timestamp of each line in seconds; 0 if it is not a whole number of seconds."""
    fractional: tuple[tuple[int, int], ...]
    """Line number and timestamp in milliseconds of each line whose timestamp is not a whole number of seconds."""
    latest_ms: int

    def render(self, now_ms: int) -> bytes:
        """Return the lines with their ages at `now_ms`; the age of a timestamp in the future is 0."""
        if self.latest_ms > now_ms:
            return self._render_each(now_ms)
        now, millis = divmod(now_ms, 1000)
        # A single formatting call with one flat tuple takes half the time of formatting line by line (measured).
        values: list[int | bytes] = [now - timestamp for timestamp in self.whole_seconds]
        for line, timestamp_ms in self.fractional:
            values[line] = format_seconds(now_ms - timestamp_ms).encode()
        return (self.template % tuple(values)).replace(_FRACTION, FRACTIONS[millis])

    def _render_each(self, now_ms: int) -> bytes:
        """Render with each age formatted individually, because some timestamps are in the future."""
        timestamps = [timestamp * 1000 for timestamp in self.whole_seconds]
        for line, timestamp_ms in self.fractional:
            timestamps[line] = timestamp_ms
        template = self.template.replace(_WHOLE_SECONDS, b"%b")
        return template % tuple([format_seconds(max(0, now_ms - timestamp)).encode() for timestamp in timestamps])


Text: TypeAlias = Lines | AgeLines


def age_lines(series: Sequence[tuple[str, int]]) -> AgeLines:
    """Return age lines built from the text before each value and each timestamp in milliseconds."""
    template = b"".join(
        [
            prefix.replace("%", "%%").encode() + (b"%b\n" if timestamp_ms % 1000 else _WHOLE_SECONDS + b"\n")
            for prefix, timestamp_ms in series
        ]
    )
    return AgeLines(
        template,
        array("q", [0 if timestamp_ms % 1000 else timestamp_ms // 1000 for _, timestamp_ms in series]),
        tuple((line, timestamp_ms) for line, (_, timestamp_ms) in enumerate(series) if timestamp_ms % 1000),
        max(timestamp_ms for _, timestamp_ms in series),
    )


def render_lines(metric: DetailMetric[T], items: Sequence[tuple[str, T]], settings: PoolSettings) -> Text | None:
    """Return the lines of one metric for users or devices, given with their label prefixes; None without series."""
    series = [
        (f"{metric.spec.name}{{{prefix}{_extra_labels(metric, item, settings)}}} ", value)
        for prefix, item in items
        if (value := metric.value(item)) is not None
    ]
    if not series:
        return None
    if metric.value_format is ValueFormat.AGE:
        return age_lines(series)
    render_value = format_seconds if metric.value_format is ValueFormat.TIMESTAMP else str
    return Lines("".join([f"{prefix}{render_value(value)}\n" for prefix, value in series]).encode())


def _extra_labels(metric: DetailMetric[T], item: T, settings: PoolSettings) -> str:
    if metric.extra_labels is None:
        return ""
    labels = metric.extra_labels(item, settings.device_attributes)
    return "".join([f',{label}="{escape(value)}"' for label, value in labels])


class DetailFamily:
    """Metric family with its HELP and TYPE lines; the text is the same in both formats."""

    def __init__(self, spec: Spec, texts: Sequence[Text]) -> None:
        self.spec = spec
        header = Lines(f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.type.value}\n".encode())
        self._constant = [header, *(text for text in texts if isinstance(text, Lines))]
        self._ages = [text for text in texts if isinstance(text, AgeLines)]
        self._compressed: DeflateChunk | None = None

    def plain(self, now_ms: int) -> list[bytes]:
        """Return the family at `now_ms`, in parts."""
        self._compressed = None
        return [*(lines.plain() for lines in self._constant), *(lines.render(now_ms) for lines in self._ages)]

    def compressed(self, now_ms: int) -> list[DeflateChunk]:
        """Return the family at `now_ms`, compressed. Constant lines that are already compressed are reused."""
        if self._compressed is None:
            self._compressed = concat(lines.compressed() for lines in self._constant)
        if not self._ages:
            return [self._compressed]
        return [self._compressed, deflate(b"".join([lines.render(now_ms) for lines in self._ages]))]
