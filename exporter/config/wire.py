"""The configuration as it is written: strict types, each key with its meaning and what is expected.

The texts `expected` and `description` are what the faults and `docs/configuration.md` say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator
from pydantic.fields import FieldInfo

from exporter.config import checks

Duration = Annotated[str, AfterValidator(checks.duration)]
Interval = Annotated[str, AfterValidator(checks.interval)]
Threshold = Annotated[str, AfterValidator(checks.threshold)]
Thresholds = Annotated[list[Threshold], AfterValidator(checks.not_empty), AfterValidator(checks.thresholds)]
Text = Annotated[str, AfterValidator(checks.not_blank)]
Names = Annotated[list[Text], AfterValidator(checks.not_empty), AfterValidator(checks.distinct)]
FilePath = Annotated[str, AfterValidator(checks.file_path)]
Rate = Annotated[float | str, PlainValidator(checks.rate)]
Regions = Annotated[
    list[Annotated[str, AfterValidator(checks.region)]],
    AfterValidator(checks.not_empty),
    AfterValidator(checks.distinct),
]

_DURATION = "a duration above zero, such as 90d, 15m or 1h30m"
_INTERVAL = "a duration of at least 1s, such as 15m or 1h30m"
_BOOLEAN = "true or false"
_OPTIONAL_BOOLEAN = "true, false or null"
_RATE = f'a number from {checks.LEAST_RATE}, or a share of the quota from {checks.LEAST_SHARE:.2%} such as "20%"'


def key(default: Any, expected: str, description: str, alias: str | None = None) -> Any:
    """One key: its default (`...` where it is required), what is expected, and what it means."""
    return Field(default, alias=alias, description=description, json_schema_extra={"expected": expected})


class Strict(BaseModel):
    """Unknown keys and inexact types are refused; no error repeats a value, which may be secret."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Defaults(Strict):
    """What holds for every pool that does not say otherwise."""

    refresh_interval: Interval = key(
        "1h",
        _INTERVAL,
        "From the start of one sweep to the start of the next. "
        "A sweep that takes longer runs back to back, never overlapping, and counts an overrun.",
    )
    max_staleness: Duration | None = key(
        None,
        f"{_DURATION}, or null",
        "No answer for a pool for this long, counted from the first failure: its data series are withdrawn. "
        "null is the longer of 24h and three times `refresh_interval`.",
    )
    stale_after: Thresholds = key(
        ["30d", "60d", "90d"],
        "at least one duration in whole seconds, each once, such as [30d, 60d, 90d]",
        "Thresholds of `cognito_user_pool_stale_devices`, in the label in their canonical form: 720h is `30d`.",
    )
    detail: Literal["pool", "user", "device"] = key(
        "pool",
        "pool, user or device",
        "The finest series exported: per pool, also per user, or also per device.",
    )
    identity: Literal["hmac", "raw"] = key(
        "hmac",
        "hmac or raw",
        "What the label `user` holds: a keyed fingerprint, or the user name itself, which is personal data.",
    )
    identity_key_file: FilePath | None = key(
        None,
        "the path of a key file, or null",
        "The key of identity hmac: a file of 16 bytes to 64 KiB with mode 0600, or up to 0640 where root owns it; a "
        "relative path starts at the directory of the configuration file. Identity hmac with detail user or device "
        "needs this or `state.path`, beside which a key is made and kept; with `--shard` of more than one it needs "
        "this, as labels must agree.",
    )
    device_age_series: bool = key(
        True,  # noqa: FBT003 - the default of a key, not a switch
        _BOOLEAN,
        "Whether detail device has `cognito_device_last_authentication_age_seconds` beside the timestamp.",
    )
    device_attributes: Annotated[list[Text], AfterValidator(checks.attributes)] = key(
        [],
        "a list of attribute names that make distinct labels",
        "DeviceAttributes to add to `cognito_device_info` as labels `attribute_<name>`, with `_` for every character "
        "that a label cannot have. They are personal data: `last_ip_used`, `device_name` and the like.",
    )
    skip_federated_users: bool = key(
        True,  # noqa: FBT003 - as above
        _BOOLEAN,
        "Whether users of an external identity provider are left out: they have no devices, so asking is wasted.",
    )
    role_arn: Annotated[str, AfterValidator(checks.role_arn)] | None = key(
        None,
        "the ARN of an IAM role such as arn:aws:iam::123456789012:role/name, or null",
        "The role to assume (sts:AssumeRole, refreshed), such as one in the pool's account.",
    )
    external_id: Annotated[str, AfterValidator(checks.external_id)] | None = key(
        None,
        "2 to 1224 letters, digits and _+=,.@:/-, or null",
        "The external id that the role's trust policy asks for. Only with `role_arn`.",
    )
    endpoint_url: Annotated[str, AfterValidator(checks.endpoint_url)] | None = key(
        None,
        "a URL such as https://vpce-0.cognito-idp.eu-west-1.vpce.amazonaws.com, or null",
        "Where to send requests to Cognito: an emulator, a VPC endpoint. "
        "Not together with `use_fips_endpoint` or `use_dualstack_endpoint`.",
    )
    use_fips_endpoint: bool | None = key(
        None,
        _OPTIONAL_BOOLEAN,
        "Whether to use the FIPS endpoint. null leaves it to the environment and the profile, as boto3 reads them.",
    )
    use_dualstack_endpoint: bool | None = key(
        None,
        _OPTIONAL_BOOLEAN,
        "Whether to use the endpoint of IPv4 and IPv6. null leaves it to the environment and the profile.",
    )


class Users(Strict):
    """Which users of a pool are read."""

    usernames: Names | None = key(
        None,
        "at least one user name, each once",
        "Only the users of these names.",
    )
    groups: Names | None = key(
        None,
        "at least one group name, each once",
        "Only the members of these groups.",
    )
    filter: Text | None = key(
        None,
        "a filter of ListUsers, such as 'status = \"Enabled\"'",
        "Only the users that this Filter of ListUsers finds.",
    )


class Pool(Defaults):
    """One user pool; it may hold any key of `defaults` too."""

    id: Annotated[str, AfterValidator(checks.pool_id)] = key(
        ...,
        "a pool id such as eu-west-1_AbCdEfGhI",
        "The id of the user pool; the Region is taken from it.",
    )
    users: Users | None = key(
        None,
        "exactly one of usernames, groups and filter",
        "Which users are read; absent means every user.",
    )


class Rule(Defaults):
    """Pools found by what they are called and tagged; it may hold any key of `defaults` too."""

    regions: Regions = key(
        ...,
        "at least one Region such as eu-west-1, each once",
        "The Regions in which pools are looked for.",
    )
    name: Annotated[str, AfterValidator(checks.pattern)] | None = key(
        None,
        "a regular expression of Python such as ^prod-, or null",
        "Searched in the pool's name, anywhere unless anchored by `^` and `$`. null is every name.",
    )
    tags: Annotated[dict[Text, str], AfterValidator(checks.not_empty_mapping)] | None = key(
        None,
        "at least one tag as text with its value as text, such as {team: identity}, or null",
        "Tags that the pool must have, each with exactly this value. Only pools whose name fits are asked for theirs.",
    )
    interval: Interval = key(
        "10m",
        _INTERVAL,
        "From one look at a Region to the next; one that failed is taken again sooner.",
    )


class Rates(Strict):
    """Requests per second, or a share of the quota, for each AWS quota category, per account and Region."""

    user_resource_read: Rate = key(10, _RATE, "AdminListDevices. AWS grants 50 by default.", alias="UserResourceRead")
    user_list: Rate = key(5, _RATE, "ListUsers, ListUsersInGroup. AWS grants 30 by default.", alias="UserList")
    user_pool_read: Rate = key(
        2, _RATE, "DescribeUserPool, ListUserPools. AWS grants 15 by default.", alias="UserPoolRead"
    )
    user_pool_resource_read: Rate = key(
        2,
        _RATE,
        "ListTagsForResource. AWS grants 20 by default.",
        alias="UserPoolResourceRead",
    )


class Limits(Strict):
    """What the exporter may use."""

    rate: Rates | None = key(
        None,
        "a mapping of quota categories to requests per second or shares",
        "Requests per second for the whole deployment, per account and Region, by AWS quota category. "
        "The quotas are shared with everything else in the account, sign-ups and verification codes included. "
        "A share is of the quota that GetProvisionedLimit tells, and of AWS's default where that cannot be read.",
    )
    series: Annotated[int, AfterValidator(checks.number_of_series)] = key(
        10_000,
        f"a whole number from 0 to {checks.MOST_SERIES}",
        "The most user and device series in one exposition; whole users are kept or dropped by a stable hash, "
        "with a fair share for each pool. With 0 no user and device series is shown at all.",
    )


class State(Strict):
    """What survives a restart."""

    path: FilePath | None = key(
        None,
        "the path of a file in a directory that exists, or null",
        "The SQLite file from which a restart resumes, each shard's own, and no file that is used for anything else; a "
        "relative path starts at the directory of the configuration file. A file that cannot be used is set aside or "
        "gone without, which `cognito_exporter_state_errors_total` counts. null begins every start from nothing.",
    )


class Root(Strict):
    """The whole file."""

    defaults: Defaults | None = key(None, "a mapping", "What holds for every pool that does not say otherwise.")
    pools: Annotated[list[Pool], AfterValidator(checks.not_empty)] | None = key(
        None, "a list of at least one pool", "The user pools to read. Required where there is no `discovery`."
    )
    discovery: Annotated[list[Rule], AfterValidator(checks.not_empty)] | None = key(
        None,
        "a list of at least one rule",
        "Rules that find further pools. A pool under `pools` is read as it says there, and one that several rules find "
        "as the first of them says.",
    )
    limits: Limits | None = key(None, "a mapping", "What the exporter may use.")
    state: State | None = key(None, "a mapping with the key path", "What survives a restart.")


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a mapping as they are written."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of a mapping, or of the items of a list of mappings; None for everything else."""
    return next(_models_in(annotation), None)


def expected_of(info: FieldInfo) -> str:
    """What a key expects, in words."""
    extra = info.json_schema_extra
    return str(extra["expected"]) if isinstance(extra, dict) else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
