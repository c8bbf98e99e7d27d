"""Settings of valid configurations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from exporter.aws.api import DEFAULT_QUOTAS, Category
from exporter.config.load import load_settings, parse_settings
from exporter.config.settings import (
    TEMPLATE_ID,
    Detail,
    IdentityMode,
    Limits,
    PoolSettings,
    RuleSettings,
    Search,
    Share,
    TargetSettings,
    Threshold,
    UserSelection,
)
from exporter.config.validators import MAX_SERIES, MIN_RATE, file_path
from exporter.errors import ConfigError

ONE_POOL = "pools:\n  - id: eu-west-1_AbCdEfGhI\n"
DAY = 86_400


def only_pool(text: str) -> PoolSettings:
    (pool,) = parse_settings(text, "config.yaml").pools
    return pool


def test_one_pool_is_a_complete_configuration() -> None:
    loaded = parse_settings(ONE_POOL, "config.yaml")
    assert loaded.pools == (
        PoolSettings(
            id="eu-west-1_AbCdEfGhI",
            target=TargetSettings(region="eu-west-1"),
            users=UserSelection(),
            refresh_interval=3600,
            max_staleness=DAY,
            stale_after=(Threshold(30 * DAY, "30d"), Threshold(60 * DAY, "60d"), Threshold(90 * DAY, "90d")),
            detail=Detail.POOL,
            identity=IdentityMode.HMAC,
            identity_key_file=None,
            device_age_series=True,
            device_attributes=(),
            skip_federated_users=True,
        ),
    )
    assert loaded.limits == Limits(
        rate={"UserResourceRead": 10, "UserList": 5, "UserPoolRead": 2, "UserPoolResourceRead": 2}, series=10_000
    )
    assert loaded.state_path is None


def test_report_is_limited_to_a_thousand_problems() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings("".join(f"key{number}: 1\n" for number in range(1500)), "config.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 1001
    assert lines[-1] == "config.yaml: 501 more errors"


def test_default_rates_are_below_the_default_quotas() -> None:
    rates = parse_settings(ONE_POOL, "config.yaml").limits.rate
    assert set(rates) == set(Category)
    for category, quota in DEFAULT_QUOTAS.items():
        rate = rates[category]
        assert isinstance(rate, float)
        assert rate < quota


def test_null_of_a_pool_overrides_the_defaults() -> None:
    text = """
defaults: {role_arn: "arn:aws:iam::123456789012:role/reader", external_id: tenant, max_staleness: 2d, detail: user,
  identity: raw, use_fips_endpoint: true, skip_federated_users: false}
pools:
  - {id: us-gov-west-1_AbC}
  - {id: eu-west-1_AbC, role_arn: null, external_id: null, max_staleness: null, detail: device,
     use_fips_endpoint: null, skip_federated_users: true}
"""
    first, second = parse_settings(text, "config.yaml").pools
    role = "arn:aws:iam::123456789012:role/reader"
    assert first.target == TargetSettings("us-gov-west-1", role, "tenant", use_fips_endpoint=True)
    assert (first.max_staleness, first.detail, first.skip_federated_users) == (2 * DAY, Detail.USER, False)
    assert second.target == TargetSettings("eu-west-1")
    assert (second.max_staleness, second.detail, second.skip_federated_users) == (DAY, Detail.DEVICE, True)
    assert second.identity is IdentityMode.RAW


def test_pool_can_disable_fips_to_set_an_endpoint() -> None:
    text = f"defaults: {{use_fips_endpoint: true}}\n{ONE_POOL}    use_fips_endpoint: false\n"
    pool = only_pool(f"{text}    endpoint_url: http://[::1]:5000\n")
    assert pool.target.endpoint_url == "http://[::1]:5000"


@pytest.mark.parametrize(("interval", "seconds"), [("1h", DAY), ("8h", DAY), ("12h", 1.5 * DAY), ("7d", 21 * DAY)])
def test_max_staleness_defaults_to_intervals_or_a_day(interval: str, seconds: float) -> None:
    assert only_pool(f"{ONE_POOL}    refresh_interval: {interval}\n").max_staleness == seconds


def test_thresholds_are_canonical_and_ascending() -> None:
    pool = only_pool(f"{ONE_POOL}    stale_after: [1y, 720h, 90m]\n")
    assert pool.stale_after == (Threshold(5400, "1h30m"), Threshold(30 * DAY, "30d"), Threshold(365 * DAY, "365d"))


@pytest.mark.parametrize(
    ("written", "selection"),
    [
        ("usernames: [alice, '5', 2026-01-01]", UserSelection(usernames=("alice", "5", "2026-01-01"))),
        ("groups: [staff]", UserSelection(groups=("staff",))),
        ("filter: 'status = \"Enabled\"'", UserSelection(filter='status = "Enabled"')),
        ("filter: null", None),
    ],
)
def test_users_are_selected_by_exactly_one_key(written: str, selection: UserSelection | None) -> None:
    text = f"{ONE_POOL}    users: {{{written}}}\n"
    if selection is None:
        with pytest.raises(ConfigError, match="no selection"):
            only_pool(text)
    else:
        assert only_pool(text).users == selection


def test_relative_key_file_starts_at_the_configuration(tmp_path: Path) -> None:
    key = tmp_path / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    path = tmp_path / "config.yaml"
    path.write_text(f"{ONE_POOL}    detail: device\n    identity_key_file: identity.key\n", encoding="utf-8")
    assert load_settings(path).pools[0].identity_key_file == key


def test_relative_state_file_starts_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "config.yaml"
    path.write_text(f"{ONE_POOL}state: {{path: state/devices.db}}\n", encoding="utf-8")
    assert load_settings(path).state_path == tmp_path / "state" / "devices.db"
    path.write_text(f"{ONE_POOL}state: {{path: {tmp_path}/other.db}}\n", encoding="utf-8")
    assert load_settings(path).state_path == tmp_path / "other.db"


@pytest.mark.parametrize("name", ["not-a-database.db", "x" * 300, "x" * 300 + "/state.db"])
def test_state_file_that_cannot_be_opened_is_accepted(name: str, tmp_path: Path) -> None:
    (tmp_path / "not-a-database.db").write_bytes(b"something else")
    text = f"{ONE_POOL}state: {{path: {name}}}\n"
    assert parse_settings(text, str(tmp_path / "config.yaml")).state_path == tmp_path / name


def test_path_that_cannot_be_encoded_is_rejected() -> None:
    """Half a character in every encoding; in one such as ASCII, any letter that it lacks."""
    with pytest.raises(PydanticCustomError) as caught:
        file_path("\ud800")
    assert caught.value.context == {"problem": "not a path"}


@pytest.mark.parametrize("detail", ["user", "device"])
def test_state_file_replaces_a_key_file(detail: str) -> None:
    text = f"{ONE_POOL}    detail: {detail}\nstate: {{path: state.db}}\n"
    assert parse_settings(text, "config.yaml").pools[0].identity_key_file is None


def test_empty_sections_have_their_defaults() -> None:
    text = f"defaults:\nlimits:\n  rate:\ndiscovery:\nstate:\n{ONE_POOL}"
    assert parse_settings(text, "config.yaml") == parse_settings(ONE_POOL, "config.yaml")


def test_series_limit_of_a_billion_is_accepted() -> None:
    text = f"{ONE_POOL}limits: {{series: {MAX_SERIES}}}\n"
    assert parse_settings(text, "config.yaml").limits.series == 1_000_000_000


def test_rates_below_one_and_above_the_quota_are_accepted() -> None:
    text = f"{ONE_POOL}limits: {{rate: {{UserList: 0.5, UserResourceRead: 1000}}, series: 0}}\n"
    limits = parse_settings(text, "config.yaml").limits
    assert (limits.rate["UserList"], limits.rate["UserResourceRead"], limits.series) == (0.5, 1000, 0)


@pytest.mark.parametrize("rate", [MIN_RATE, 0.001, 1])
def test_minimum_rate_is_accepted(rate: float) -> None:
    text = f"{ONE_POOL}limits: {{rate: {{UserList: {rate}}}}}\n"
    assert parse_settings(text, "config.yaml").limits.rate["UserList"] == rate


@pytest.mark.parametrize("rate", ["5.0e-324", "0.000999", "0.0099%", "0.000000000000001%"])
def test_rate_below_the_minimum_is_rejected(rate: str) -> None:
    (problem,) = problems_of(f"{ONE_POOL}limits: {{rate: {{UserList: {rate}}}}}\n")
    assert problem.startswith(
        "config.yaml:3: limits.rate.UserList: too small, expected a number from 0.001, or a share of the quota from "
        '0.01% such as "20%" (found '
    )


@pytest.mark.parametrize(
    ("written", "fraction"),
    [("0.01%", 0.0001), ("20%", 0.2), ("12.5%", 0.125), ("100%", 1), ("100.0%", 1), ("0.1%", 0.001)],
)
@pytest.mark.parametrize("quote", ["", '"'])
def test_rate_as_share_of_the_quota_is_accepted(written: str, fraction: float, quote: str) -> None:
    text = f"{ONE_POOL}limits: {{rate: {{UserResourceRead: {quote}{written}{quote}, UserList: 20}}}}\n"
    rate = parse_settings(text, "config.yaml").limits.rate
    assert rate["UserResourceRead"] == Share(fraction)
    assert rate["UserList"] == 20


def test_byte_order_mark_is_accepted() -> None:
    assert len(parse_settings(f"\ufeff{ONE_POOL}", "config.yaml").pools) == 1


def test_bounds_are_inclusive() -> None:
    longest = "eu-west-1_" + "A" * 45
    text = f"pools: [{{id: {longest}, refresh_interval: 1s, endpoint_url: 'http://127.0.0.1:1'}}]\n"
    pool = only_pool(text)
    assert (pool.id, pool.refresh_interval, pool.target.endpoint_url) == (longest, 1, "http://127.0.0.1:1")
    for within, beyond in (
        ("1s", "999ms"),
        (longest, longest + "A"),
        (":1'", ":0'"),
        (":1'", "/?a=b'"),
        (":1'", "#a'"),
    ):
        (problem,) = problems_of(text.replace(within, beyond))
        assert problem.startswith("config.yaml:1: pools[0].")


def test_invalid_item_of_the_defaults_is_reported_once() -> None:
    (problem,) = problems_of(f"defaults: {{stale_after: [30d, soon]}}\n{ONE_POOL}")
    assert problem.startswith("config.yaml:1: defaults.stale_after[1]: not a duration, expected ")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            f"defaults: {{detail: user}}\n{ONE_POOL}    identity: hmac\n",
            "4: pools[0].identity: identity hmac with detail",
        ),
        (f"{ONE_POOL}    detail: user\n    identity: 5\n", "4: pools[0].identity: unknown value"),
        (f"defaults: {{identity: 5, detail: user}}\n{ONE_POOL}", "1: defaults.identity: unknown value"),
        (f"defaults: {{identity_key_file: 5, detail: user}}\n{ONE_POOL}", "1: defaults.identity_key_file: wrong type"),
    ],
)
def test_missing_key_file_blames_the_key_that_requires_it(text: str, place: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(f"config.yaml:{place}")


def test_tag_is_rejected_on_every_node() -> None:
    for tagged in ("!x {id: eu-west-1_A}", "!x [a]", "!x a"):
        assert problems_of(f"pools:\n  - {tagged}\n") == ("config.yaml:2:5: a tag, expected plain values",)


@pytest.mark.parametrize(("length", "shown"), [(60, "x." * 30), (61, "x." * 30 + "\\u2026")])
def test_long_value_is_truncated(length: int, shown: str) -> None:
    (problem,) = problems_of(f"pools:\n  - id: {('x.' * 31)[:length]}\n")
    assert problem.endswith(f'(found "{shown}")')


def test_endpoint_variants_can_be_set_by_a_pool() -> None:
    target = only_pool(f"{ONE_POOL}    use_dualstack_endpoint: true\n    use_fips_endpoint: false\n").target
    assert (target.use_dualstack_endpoint, target.use_fips_endpoint) == (True, False)


def test_threshold_is_an_integer() -> None:
    assert [str(threshold.seconds) for threshold in only_pool(f"{ONE_POOL}    stale_after: [1d]\n").stale_after] == [
        "86400"
    ]


RULE = """
defaults: {role_arn: "arn:aws:iam::123456789012:role/reader", detail: user, identity_key_file: identity.key}
discovery:
  - {regions: [us-west-2, eu-west-1], name: ^prod-, tags: {team: identity, stage: live}, interval: 5m,
     refresh_interval: 2h}
  - {regions: [eu-west-1], role_arn: null}
"""


def test_rule_is_resolved_to_searches_and_a_template(tmp_path: Path) -> None:
    key = tmp_path / "identity.key"
    key.touch(mode=0o600)
    key.write_bytes(b"k" * 32)
    loaded = parse_settings(RULE, str(tmp_path / "config.yaml"))
    role = "arn:aws:iam::123456789012:role/reader"
    tags = (("stage", "live"), ("team", "identity"))
    oregon, ireland = TargetSettings("us-west-2", role), TargetSettings("eu-west-1", role)
    template = PoolSettings(
        id=TEMPLATE_ID,
        target=TargetSettings("", role),
        users=UserSelection(),
        refresh_interval=7200,
        max_staleness=DAY,
        stale_after=(Threshold(30 * DAY, "30d"), Threshold(60 * DAY, "60d"), Threshold(90 * DAY, "90d")),
        detail=Detail.USER,
        identity=IdentityMode.HMAC,
        identity_key_file=key,
        device_age_series=True,
        device_attributes=(),
        skip_federated_users=True,
    )
    every = replace(template, target=TargetSettings(""), refresh_interval=3600)
    assert loaded.discovery == (
        RuleSettings((Search(oregon, "^prod-", tags), Search(ireland, "^prod-", tags)), 300, template),
        RuleSettings((Search(TargetSettings("eu-west-1"), None, ()),), 600, every),
    )
    assert loaded.pools == ()
    assert loaded.all_pool_settings == (template, every)
    assert loaded.targets == {oregon, ireland, TargetSettings("eu-west-1")}
    found = loaded.discovery[0].pool("us-west-2_AbC", oregon)
    assert found == replace(template, id="us-west-2_AbC", target=oregon)


def test_search_matches_name_and_tags() -> None:
    target = TargetSettings("eu-west-1")
    some = Search(target, "prod", (("stage", "live"), ("team", "identity")))
    assert [some.fits_name(name) for name in ("prod", "my-prod-2", "Prod", "")] == [True, True, False, False]
    assert some.fits_tags({"team": "identity", "stage": "live", "more": "yes"})
    assert not some.fits_tags({"team": "identity"})
    assert not some.fits_tags({"team": "identity", "stage": "test"})
    every = Search(target, None, ())
    assert every.fits_name("")
    assert every.fits_tags({})


KEYS = ("pools", "defaults", "id", "users", "limits", "rate", "discovery", "state", "path")
VALUES = ("20%", "eu-west-1_AbC", "30d", "1", "0x_", "null", "yes", "!x", "&a", "*a", "\ud800", "# ")
MARKS = (": ", ":", "- ", "? ", ", ", "[", "]", "{", "}", "'", '"', "|", "\n", "\n  ", "\n    ")
YAML_LIKE = st.lists(st.sampled_from(KEYS + VALUES + MARKS), max_size=30).map("".join)


@given(st.one_of(st.text(max_size=40), YAML_LIKE, YAML_LIKE.map(lambda tail: f"{ONE_POOL}    {tail}")))
@example('pools:\n  - id: "\\ud800"\n')
@example("pools: [!!bool maybe]")
@example("pools: 2026-99-99")
@example(f"{ONE_POOL}limits: {{series: {'9' * 5000}}}")
@example(f"{ONE_POOL}limits: {{rate: {{UserList: {'9' * 400}}}}}")
@example(f"{ONE_POOL}limits: {{rate: {{UserList: '{'9' * 400}%'}}}}")
@example(f'{ONE_POOL}state: {{path: "\\ud800"}}')
@example(f'{ONE_POOL}state: {{path: "no\\nsuch/state.db"}}')
def test_any_text_is_settings_or_problems_of_one_line(text: str) -> None:
    assert all(problem.startswith("config.yaml:") and "\n" not in problem for problem in problems_of(text))


def problems_of(text: str) -> tuple[str, ...]:
    try:
        parse_settings(text, "config.yaml")
    except ConfigError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("identity", "detail", "exposed"),
    [("raw", "user", True), ("raw", "device", True), ("raw", "pool", False), ("hmac", "user", False)],
)
def test_raw_names_are_exposed_below_detail_pool(identity: str, detail: str, exposed: bool) -> None:
    text = f"state: {{path: state.db}}\n{ONE_POOL}  - {{id: eu-west-1_A, identity: {identity}, detail: {detail}}}\n"
    assert parse_settings(text, "config.yaml").exposes_raw_names is exposed
