"""Status document: the response of `/api/v1/status` and the content of the status page.

The types are the documented JSON schema. The document never contains user names, ARNs, paths, addresses or AWS error
messages. Names of numbers include the unit, timestamps are RFC 3339 in UTC. In version 1, fields may be added, but
not removed or changed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from exporter.errors import Reason
from exporter.model import Mfa, PoolState, Tracking

SCHEMA_VERSION: Literal[1] = 1

Count = Annotated[int, Meta(ge=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Ratio = Annotated[float, Meta(ge=0, le=1)]
Timestamp = Annotated[datetime, Meta(tz=True)]


class Build(Struct, frozen=True, kw_only=True):
    """Build of the exporter."""

    version: str
    revision: Annotated[str, Meta(description="Commit of the build, or `unknown`.")]
    python_version: str


class Process(Struct, frozen=True, kw_only=True):
    """Exporter process."""

    started: Timestamp
    uptime_seconds: NonNegative
    shard_ordinal: Count
    shards: Annotated[int, Meta(ge=1, description="Number of shards. Each one counts its own part of the users.")]
    identity_exposed: Annotated[
        bool,
        Meta(description="True if /metrics shows raw user names without authentication on a non-loopback address."),
    ]
    unexpected_failures: Annotated[Count, Meta(description="Unexpected errors since the process started.")]
    state_errors: Annotated[
        Count, Meta(description="Failures to read or write the state file since the process started.")
    ]


class Rate(Struct, frozen=True, kw_only=True):
    """Configured rate of an AWS quota category (`limits.rate`); one of the two numbers is null."""

    category: str
    requests_per_second: NonNegative | None
    quota_share_ratio: Ratio | None


class Configuration(Struct, frozen=True, kw_only=True):
    """Active configuration, without the pools."""

    last_reload_successful: Annotated[
        bool, Meta(description="False if the last reload failed and the previous configuration is still active.")
    ]
    loaded: Annotated[Timestamp, Meta(description="When the active configuration was loaded.")]
    series_limit: Count
    state_file: Annotated[bool, Meta(description="True if sweep results are kept across restarts.")]
    rates: Annotated[list[Rate], Meta(description="For all shards together.")]


class Summary(Struct, frozen=True, kw_only=True):
    """Totals over all pools."""

    pools: Count
    pools_by_state: Annotated[dict[PoolState, Count], Meta(description="Every state, the most severe first.")]
    pools_overdue: Count
    pools_sweeping: Count
    discovery_rules: Count
    discovery_rules_failing: Annotated[
        Count, Meta(description="Rules whose last run in at least one Region could not list every pool.")
    ]
    users: Count
    devices: Count


class Devices(Struct, frozen=True, kw_only=True):
    """Devices of a pool by remembered status."""

    total: Count
    remembered: Count
    not_remembered: Count
    unknown: Annotated[Count, Meta(description="Devices for which Cognito reports no status.")]


class Sweep(Struct, frozen=True, kw_only=True):
    """Sweep in progress."""

    users_done: Count
    users_expected: Annotated[Count | None, Meta(description="Null while the size of the pool is unknown.")]
    progress_ratio: Annotated[Ratio | None, Meta(description="Null while the size of the pool is unknown.")]
    remaining_seconds: Annotated[NonNegative | None, Meta(description="Estimated from the progress so far.")]


class Failure(Struct, frozen=True, kw_only=True):
    """Failed sweep. The pool keeps its last values."""

    reason: Reason
    time: Timestamp


class Failures(Struct, frozen=True, kw_only=True):
    """Failures since the process started, by reason. Reasons without failures are omitted."""

    sweeps: dict[Reason, Count]
    users: Annotated[
        dict[Reason, Count], Meta(description="Failed attempts to read a user, which keeps its last values.")
    ]


class Selection(Struct, frozen=True, kw_only=True):
    """Selection of the users that are read."""

    kind: Literal["everyone", "usernames", "groups", "filter"]
    count: Annotated[Count | None, Meta(description="Number of listed names or groups, null for other kinds.")]


class PoolSettings(Struct, frozen=True, kw_only=True):
    """Settings of a pool, without secrets, user names and addresses."""

    refresh_interval_seconds: NonNegative
    max_staleness_seconds: NonNegative
    stale_after: Annotated[list[str], Meta(description="Thresholds, as in the label `threshold`.")]
    detail: Literal["pool", "user", "device"]
    identity: Literal["hmac", "raw"]
    users: Selection
    skip_federated_users: bool
    device_age_series: bool
    device_attributes: Annotated[list[str], Meta(description="Names of device attributes exposed as labels.")]
    assumes_role: bool
    custom_endpoint: bool


class Pool(Struct, frozen=True, kw_only=True):
    """User pool."""

    id: str
    name: Annotated[str | None, Meta(description="Null until the pool has been described.")]
    aws_account_id: str | None
    aws_region: str
    state: PoolState
    overdue: Annotated[
        bool,
        Meta(
            description="True if no sweep has read every user for more than 1.5 times refresh_interval, as in the "
            "alert. False for pools that are missing or denied, and before the first success."
        ),
    ]
    device_tracking: Tracking | None
    mfa: Mfa | None
    mfa_bypass: Annotated[bool | None, Meta(description="True if remembered devices can skip the second factor.")]
    estimated_users: Annotated[Count | None, Meta(description="Estimate by Cognito.")]
    users: Annotated[
        Count | None, Meta(description="Observed users after selection. Null without data, as on /metrics.")
    ]
    devices: Devices | None
    sweep: Annotated[Sweep | None, Meta(description="Null if no sweep is in progress.")]
    next_sweep: Annotated[Timestamp | None, Meta(description="When the next sweep or retry is due.")]
    last_sweep_duration_seconds: NonNegative | None
    last_sweep_success: Annotated[Timestamp | None, Meta(description="End of the last sweep that read every user.")]
    oldest_observation: Annotated[Timestamp | None, Meta(description="When the least recently read user was read.")]
    last_failure: Annotated[Failure | None, Meta(description="Last failed sweep of this process.")]
    users_not_read: Annotated[Count, Meta(description="Users that the last finished sweep could not read.")]
    failures_since_start: Failures
    settings: PoolSettings


class DiscoveryRule(Struct, frozen=True, kw_only=True):
    """Discovery rule in one of its Regions."""

    index: Annotated[Count, Meta(description="Position in `discovery`, from 0, as in the label `rule`.")]
    aws_region: str
    pools: Annotated[
        Count, Meta(description="Pools found by this rule that are in neither `pools` nor an earlier rule.")
    ]
    up: Annotated[bool, Meta(description="True if the last run listed every pool; false before the first run.")]
    last_success: Annotated[Timestamp | None, Meta(description="End of the last run that listed every pool.")]
    reason: Annotated[Reason | None, Meta(description="Why the last run could not list every pool.")]


class RateLimit(Struct, frozen=True, kw_only=True):
    """Rate limit of this process for an account, Region and quota category."""

    aws_account_id: str
    aws_region: str
    category: str
    used_requests_per_second: Annotated[NonNegative, Meta(description="Average over the last five seconds.")]
    current_requests_per_second: Annotated[
        NonNegative, Meta(description="Current limit; lower than configured after throttling.")
    ]
    configured_requests_per_second: NonNegative
    quota_requests_per_second: Annotated[NonNegative | None, Meta(description="AWS quota for all callers together.")]
    quota_provisioned: Annotated[
        bool, Meta(description="True if AWS reported the quota; false if it is the documented default.")
    ]


class Status(Struct, frozen=True, kw_only=True):
    """Status of the exporter and its pools."""

    schema_version: Literal[1]
    generated: Timestamp
    build: Build
    process: Process
    configuration: Configuration
    summary: Summary
    pools: Annotated[list[Pool], Meta(description="Most severe state first, then overdue pools, then by name.")]
    discovery: Annotated[
        list[DiscoveryRule],
        Meta(description="Failing rules first, then those that have not run yet, then as configured."),
    ]
    budgets: list[RateLimit]


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the document."""
    (reference,), components = msgspec.json.schema_components([Status], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Status of cognito-device-exporter",
        **reference,
        "$defs": components,
    }
