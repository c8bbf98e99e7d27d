"""Schema of the configuration file: strict types, each key with its meaning and its expected values.

Error messages and `docs/configuration.md` quote the texts `expected` and `description`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator
from pydantic.fields import FieldInfo

from exporter.config import validators as checks
from exporter.config.settings import Share, Threshold

Duration = Annotated[float, BeforeValidator(checks.duration)]
Interval = Annotated[float, BeforeValidator(checks.interval)]
Thresholds = Annotated[
    list[Annotated[Threshold, PlainValidator(checks.threshold)]],
    AfterValidator(checks.not_empty),
    AfterValidator(checks.thresholds),
]
Text = Annotated[str, AfterValidator(checks.not_blank)]
Names = Annotated[list[Text], AfterValidator(checks.not_empty), AfterValidator(checks.distinct)]
FilePath = Annotated[str, AfterValidator(checks.file_path)]
Rate = Annotated[float | Share, PlainValidator(checks.rate)]
Regions = Annotated[
    list[Annotated[str, checks.region]],
    AfterValidator(checks.not_empty),
    AfterValidator(checks.distinct),
]

_DURATION = "a duration above zero, such as 90d, 15m or 1h30m"
_INTERVAL = "a duration of at least 1s, such as 15m or 1h30m"
_BOOLEAN = "true or false"
_OPTIONAL_BOOLEAN = "true, false or null"
_RATE = f'a number from {checks.MIN_RATE}, or a share of the quota from {checks.MIN_SHARE:.2%} such as "20%"'


def key(default: Any, expected: str, description: str, alias: str | None = None) -> Any:
    """Return the field of one key: its default (`...` if required), its expected values, its meaning."""
    return Field(
        default,
        alias=alias,
        description=description,
        validate_default=default is not None,
        json_schema_extra={"expected": expected},
    )


class Strict(BaseModel):
    """Base model that rejects unknown keys and values of wrong types; errors repeat no value, which may be secret."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Defaults(Strict):
    """Settings of every pool that does not override them."""

    refresh_interval: Interval = key(
        "1h",
        _INTERVAL,
        "Time from the start of one sweep to the start of the next. A sweep that takes longer counts as an overrun, "
        "and the next one starts as soon as it ends.",
    )
    max_staleness: Duration | None = key(
        None,
        f"{_DURATION}, or null",
        "How long a pool that fails keeps its data series, counted from the first failure. null means 24h or three "
        "times `refresh_interval`, whichever is longer.",
    )
    stale_after: Thresholds = key(
        ["30d", "60d", "90d"],
        "at least one duration in whole seconds, each once, such as [30d, 60d, 90d]",
        "Thresholds of `cognito_user_pool_stale_devices`. The label has the canonical form: 720h is `30d`.",
    )
    detail: Literal["pool", "user", "device"] = key(
        "pool",
        "pool, user or device",
        "Granularity of the exported series: per pool, also per user, or also per device.",
    )
    identity: Literal["hmac", "raw"] = key(
        "hmac",
        "hmac or raw",
        "Value of the label `user`: a keyed fingerprint, or the user name itself, which is personal data.",
    )
    identity_key_file: FilePath | None = key(
        None,
        "the path of a key file, or null",
        "Key file of identity hmac: 16 bytes to 64 KiB, mode 0600, or up to 0640 if root owns it. Relative to the "
        "directory of the configuration file. Required with detail user or device unless `state.path` is set (a key is "
        "then generated next to the state file), and always with several shards (`--shard`), because labels must "
        "match.",
    )
    device_age_series: bool = key(
        True,  # noqa: FBT003 - the default of a key, not a switch
        _BOOLEAN,
        "Whether detail device exports `cognito_device_last_authentication_age_seconds` in addition to the timestamp.",
    )
    device_attributes: Annotated[list[Text], AfterValidator(checks.attributes)] = key(
        [],
        "a list of attribute names that make distinct labels",
        "DeviceAttributes to add to `cognito_device_info` as labels `attribute_<name>`, with `_` for every character "
        "that is invalid in a label. They are personal data: `last_ip_used`, `device_name` and similar.",
    )
    skip_federated_users: bool = key(
        True,  # noqa: FBT003 - as above
        _BOOLEAN,
        "Whether to skip users of an external identity provider. They have no devices, so requests are wasted.",
    )
    role_arn: Annotated[str, checks.role_arn] | None = key(
        None,
        "the ARN of an IAM role such as arn:aws:iam::123456789012:role/name, or null",
        "IAM role to assume, such as one in the pool's account (sts:AssumeRole; credentials are refreshed).",
    )
    external_id: Annotated[str, checks.external_id] | None = key(
        None,
        "2 to 1224 letters, digits and _+=,.@:/-, or null",
        "External id that the role's trust policy requires. Only with `role_arn`.",
    )
    endpoint_url: Annotated[str, AfterValidator(checks.endpoint_url)] | None = key(
        None,
        "a URL such as https://vpce-0.cognito-idp.eu-west-1.vpce.amazonaws.com, or null",
        "URL of the Cognito endpoint, such as an emulator or a VPC endpoint. "
        "Not together with `use_fips_endpoint` or `use_dualstack_endpoint`.",
    )
    use_fips_endpoint: bool | None = key(
        None,
        _OPTIONAL_BOOLEAN,
        "Whether to use the FIPS endpoint. null leaves it to the environment and the profile, as read by boto3.",
    )
    use_dualstack_endpoint: bool | None = key(
        None,
        _OPTIONAL_BOOLEAN,
        "Whether to use the dual-stack endpoint (IPv4 and IPv6). null leaves it to the environment and the profile.",
    )


class Users(Strict):
    """Selection of the users of a pool."""

    usernames: Names | None = key(
        None,
        "at least one user name, each once",
        "Read only the users with these names.",
    )
    groups: Names | None = key(
        None,
        "at least one group name, each once",
        "Read only the members of these groups.",
    )
    filter: Text | None = key(
        None,
        "a filter of ListUsers, such as 'status = \"Enabled\"'",
        "Read only the users that match this ListUsers filter.",
    )


class Pool(Defaults):
    """One user pool; it can also set any key of `defaults`."""

    id: Annotated[str, checks.pool_id] = key(
        ...,
        "a pool id such as eu-west-1_AbCdEfGhI",
        "Id of the user pool. It determines the Region.",
    )
    users: Users | None = key(
        None,
        "exactly one of usernames, groups and filter",
        "Users to read. If absent, every user is read.",
    )


class Rule(Defaults):
    """Discovery of pools by name and tags; it can also set any key of `defaults`."""

    regions: Regions = key(
        ...,
        "at least one Region such as eu-west-1, each once",
        "Regions in which to discover pools.",
    )
    name: Annotated[str, AfterValidator(checks.pattern)] | None = key(
        None,
        "a regular expression of Python such as ^prod-, or null",
        "Pattern of the pool name. It matches anywhere unless anchored by `^` and `$`. null matches every name.",
    )
    tags: Annotated[dict[Text, str], AfterValidator(checks.not_empty)] | None = key(
        None,
        "at least one tag as text with its value as text, such as {team: identity}, or null",
        "Tags that the pool must have, each with exactly this value. Only pools with a matching name are checked.",
    )
    interval: Interval = key(
        "10m",
        _INTERVAL,
        "Time between two discovery runs in a Region. A failed run is retried sooner.",
    )


class Rates(Strict):
    """Requests per second, or a share of the quota, by AWS quota category, per account and Region."""

    user_resource_read: Rate = key(10, _RATE, "AdminListDevices. AWS default: 50.", alias="UserResourceRead")
    user_list: Rate = key(5, _RATE, "ListUsers, ListUsersInGroup. AWS default: 30.", alias="UserList")
    user_pool_read: Rate = key(2, _RATE, "DescribeUserPool, ListUserPools. AWS default: 15.", alias="UserPoolRead")
    user_pool_resource_read: Rate = key(
        2,
        _RATE,
        "ListTagsForResource. AWS default: 20.",
        alias="UserPoolResourceRead",
    )


class Limits(Strict):
    """Limits of the requests and series of the exporter."""

    rate: Rates | None = key(
        None,
        "a mapping of quota categories to requests per second or shares",
        "Requests per second for the whole deployment, per account and Region, by AWS quota category. "
        "All callers in the account share the quotas, including sign-ups and verification codes. "
        "A share refers to the quota from GetProvisionedLimit, or to the AWS default if that cannot be read.",
    )
    series: Annotated[int, AfterValidator(checks.number_of_series)] = key(
        10_000,
        f"a whole number from 0 to {checks.MAX_SERIES}",
        "Maximum number of user and device series in one exposition. Above it, a stable hash selects whole users to "
        "drop, divided fairly among the pools. 0 exports no user and device series.",
    )


class State(Strict):
    """Settings of the state file."""

    path: FilePath | None = key(
        None,
        "the path of a file in a directory that exists, or null",
        "SQLite file from which a restart resumes. Each shard needs its own file, and the file must have no other use. "
        "A relative path starts at the directory of the configuration file. A file that cannot be used is moved aside, "
        "or the exporter runs without it; `cognito_exporter_state_errors_total` counts both. With null, every start "
        "begins from scratch.",
    )


class Root(Strict):
    """Root of the configuration file."""

    defaults: Defaults | None = key(None, "a mapping", "Settings of every pool that does not override them.")
    pools: Annotated[list[Pool], AfterValidator(checks.not_empty)] | None = key(
        None, "a list of at least one pool", "User pools to read. Required unless `discovery` is set."
    )
    discovery: Annotated[list[Rule], AfterValidator(checks.not_empty)] | None = key(
        None,
        "a list of at least one rule",
        "Rules that discover further pools. An entry under `pools` takes precedence over every rule, and the first "
        "rule that finds a pool takes precedence over later ones.",
    )
    limits: Limits | None = key(None, "a mapping", "Request rates and the number of series.")
    state: State | None = key(None, "a mapping with the key path", "State that survives a restart.")


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a mapping by their key in the file."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a mapping, or of the items of a list of mappings; None for other types."""
    return next(_models_in(annotation), None)


def expected_of(info: FieldInfo) -> str:
    """Return the expected values of a key, in words."""
    extra = info.json_schema_extra
    return str(extra["expected"]) if isinstance(extra, dict) else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
