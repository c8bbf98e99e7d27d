"""What a metric is, as data: everything that the page, its documentation and its tests need to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from exporter.collect.snapshot import DetailCounts, PoolView
from exporter.config.settings import Detail
from exporter.observers import Target

T = TypeVar("T")


class Kind(StrEnum):
    """The type of a metric, in the words of the text formats."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE_HISTOGRAM = "gaugehistogram"


SUFFIXES: dict[Kind, tuple[str, ...]] = {
    Kind.GAUGE: ("",),
    Kind.COUNTER: ("",),
    Kind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    Kind.GAUGE_HISTOGRAM: ("_bucket", "_gsum", "_gcount"),
}
"""What the samples of a metric add to its name; a counter's name carries its `_total` already."""


class OverShards(StrEnum):
    """How the values of several shards make up the value of the deployment."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    EACH = "each"
    """Not at all: every series belongs to one shard."""


OVER_SHARDS_HELP = {
    OverShards.SUM: "Over shards: sum.",
    OverShards.MAX: "Over shards: max.",
    OverShards.MIN: "Over shards: min.",
    OverShards.EACH: "Over shards: each shard shows its own.",
}

SWEPT_HELP = "Read by background sweeps, never by a call at scrape time."


class Group(StrEnum):
    """The headings of the documentation, in its order."""

    POOL = "User pools"
    USER = "Users"
    DEVICE = "Devices"
    SWEEP = "The exporter: sweeps"
    DISCOVERY = "The exporter: discovery"
    AWS = "The exporter: calls to AWS"
    SELF = "The exporter: itself"


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric as it is promised to the outside."""

    name: str
    meaning: str
    """Whole sentences without quotes or backslashes, which the two formats escape differently."""
    over_shards: OverShards
    group: Group
    labels: tuple[str, ...] = ()
    kind: Kind = Kind.GAUGE

    @property
    def help(self) -> str:
        """The HELP line: the meaning, where the value comes from, and how to add up."""
        swept = (SWEPT_HELP,) if self.group in {Group.POOL, Group.USER, Group.DEVICE} else ()
        return " ".join((self.meaning, *swept, OVER_SHARDS_HELP[self.over_shards]))

    @property
    def family(self) -> str:
        """The name that prometheus_client knows the metric by."""
        return self.name.removesuffix("_total") if self.kind is Kind.COUNTER else self.name

    @property
    def sample_names(self) -> frozenset[str]:
        """The names of the metric's samples."""
        return frozenset(self.name + suffix for suffix in SUFFIXES[self.kind])


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one pool; `labels` are the values of the metric's labels after `user_pool_id`."""

    value: float
    labels: tuple[str, ...] = ()
    suffix: str = ""
    le: str | None = None
    """The upper bound of a bucket, which is inclusive."""


@dataclass(frozen=True, slots=True)
class PoolMetric:
    """A metric of a pool: a pure function of what is known and the time in milliseconds."""

    spec: Spec
    samples: Callable[[PoolView, int], Iterable[Sample]]


class Reading(StrEnum):
    """How the number behind a detail series is written."""

    NUMBER = "as it is"
    MOMENT = "milliseconds since the epoch, written in seconds"
    AGE = "milliseconds since the epoch, written as the seconds passed since then"


@dataclass(frozen=True, slots=True)
class DetailMetric(Generic[T]):
    """A metric of each user or each device; no series where `value` is None."""

    spec: Spec
    reading: Reading
    value: Callable[[T], int | None]
    series: Callable[[DetailCounts], int]
    """How many series there are of it over a whole pool."""
    further_labels: Callable[[T, tuple[str, ...]], tuple[tuple[str, str], ...]] | None = None
    """Further labels, given the names of the configured device attributes."""


class BudgetView(Protocol):
    """The rate budget of one quota category in one account and Region, as it stands now."""

    @property
    def target(self) -> Target:
        """The account and Region that share the quota."""
        ...

    @property
    def category(self) -> str:
        """AWS's name of the quota category."""
        ...

    @property
    def configured(self) -> float:
        """Requests per second that this process may make at most."""
        ...

    @property
    def current(self) -> float:
        """Requests per second allowed now, less than configured after throttling."""
        ...

    @property
    def quota(self) -> float | None:
        """Requests per second that AWS grants all callers together; None while unknown."""
        ...

    @property
    def provisioned(self) -> bool:
        """Whether AWS has told the quota."""
        ...


@dataclass(frozen=True, slots=True)
class BudgetMetric:
    """A metric of a rate budget, read when scraped; no series where `value` is None."""

    spec: Spec
    value: Callable[[BudgetView], float | None]


class RuleView(Protocol):
    """A rule of discovery in one Region, as it stands now."""

    @property
    def rule(self) -> str:
        """Its index in the configuration."""
        ...

    @property
    def region(self) -> str:
        """The Region that it looks at."""
        ...

    @property
    def pools(self) -> int:
        """The pools that are read because of it."""
        ...

    @property
    def up(self) -> bool:
        """Whether the last look saw everything."""
        ...

    @property
    def last_success(self) -> float | None:
        """When the last look ended that saw everything: wall time in seconds; None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class RuleMetric:
    """A metric of a rule of discovery, read when scraped; no series where `value` is None."""

    spec: Spec
    value: Callable[[RuleView], float | None]


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A metric that is counted as things happen."""

    spec: Spec
    buckets: tuple[float, ...] = field(default=())
    """The upper bounds of a histogram."""


DETAILS_WITH_USERS = frozenset({Detail.USER, Detail.DEVICE})
"""The settings of `detail` that show each user."""
