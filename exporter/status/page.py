"""Status page: one HTML document without scripts and external resources."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from importlib.resources import files

from exporter.config.values import canonical_duration
from exporter.model import PoolState
from exporter.status import wording as words
from exporter.status.document import Configuration, DiscoveryRule, Pool, PoolSettings, RateLimit, Status
from exporter.status.html import Column, Html, concat, table, tag
from exporter.status.query import ATTENTION, FILTERS, NO_REFRESH, REFRESH_CHOICES, PageQuery, matches, needs_attention
from exporter.text import counted

NAME = "cognito-device-exporter"

DOCUMENTATION = "https://github.com/cognito-device-exporter/cognito-device-exporter/blob/main/docs"

_STYLE = files("exporter.status").joinpath("status.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows only the embedded style sheet."""

_MAX_POOL_NAMES = 3
"""Number of pools with the same settings up to which the table of settings lists their names."""


def render_page(status: Status, query: PageQuery, *, telemetry_path: str) -> str:
    """Return the page as HTML. Links are relative, so that a proxy can serve it under any path."""
    headline = _headline(status)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{headline} – {NAME}"),
        tag("style", Html(_STYLE)),
    )
    body = tag(
        "body",
        _header(status, query, headline),
        tag(
            "main",
            _pools(status, query),
            _discovery(status.discovery, status.generated),
            _rate_limits(status.budgets),
            _configuration(status),
            _legend(),
        ),
        _footer(status, telemetry_path),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _headline(status: Status) -> str:
    pools = _pools_headline(status)
    failing, rules = status.summary.discovery_rules_failing, status.summary.discovery_rules
    return f"{pools}, {failing} of {counted(rules, 'discovery rule')} failing" if failing else pools


def _pools_headline(status: Status) -> str:
    pools = status.pools
    if not pools:
        return "No user pools found" if status.discovery else "No user pools configured"
    total = counted(len(pools), "pool")
    bad = sum(map(needs_attention, pools))
    if bad:
        return f"{bad} of {total} {'needs' if bad == 1 else 'need'} attention"
    unread = sum(pool.state is PoolState.UNREAD for pool in pools)
    if unread:
        return f"{unread} of {total} not read yet"
    return "The pool is healthy" if len(pools) == 1 else f"All {total} are healthy"


def _header(status: Status, query: PageQuery, headline: str) -> Html:
    summary = status.summary
    facts = [counted(summary.users, "user"), counted(summary.devices, "device")]
    if summary.pools_sweeping:
        facts.append(f"{counted(summary.pools_sweeping, 'sweep')} in progress")
    generated = tag("time", f"{status.generated:%H:%M:%S} UTC", datetime=words.rfc3339(status.generated))
    bad = summary.discovery_rules_failing or any(map(needs_attention, status.pools))
    refresh_links = [
        tag(
            "a",
            choice if choice == NO_REFRESH else f"{choice} s",
            href=replace(query, refresh=choice).href(),
            aria_current="true" if choice == query.refresh else None,
        )
        for choice in REFRESH_CHOICES
    ]
    return tag(
        "header",
        tag("p", NAME, class_="product"),
        tag("h1", headline, class_="bad" if bad else "good"),
        tag("p", f"{' · '.join(facts)} · as of ", generated, class_="facts"),
        _notices(status),
        tag("nav", tag("span", "Refresh"), refresh_links, class_="refresh", aria_label="Refresh interval"),
    )


def _notices(status: Status) -> Html | None:
    process, configuration = status.process, status.configuration
    notices: list[str] = []
    if not configuration.last_reload_successful:
        loaded = words.time_since(configuration.loaded, status.generated)
        notices.append(
            f"The last configuration reload failed, see the log. The configuration loaded {loaded} is still active."
        )
    if process.identity_exposed:
        notices.append("Raw user names are served without authentication on an address other than loopback.")
    if process.unexpected_failures:
        notices.append(f"{counted(process.unexpected_failures, 'unexpected error')}, see the log.")
    if process.state_errors:
        errors = counted(process.state_errors, "error")
        notices.append(f"{errors} reading or writing the state file. Sweeps may not resume after a restart.")
    return tag("ul", (tag("li", notice) for notice in notices), class_="notices") if notices else None


def _pools(status: Status, query: PageQuery) -> Html:
    shown = [pool for pool in status.pools if query.shows(pool)]
    content = _pool_table(shown, status.generated) if shown else tag("p", "No pools match the filter.", class_="empty")
    return tag("section", tag("h2", "User pools"), _filters(status.pools, query), content)


def _filters(pools: Sequence[Pool], query: PageQuery) -> Html | None:
    """Return the links that filter the pools: those that match a pool, and the selected ones."""
    if not pools:
        return None
    links = [_filter_link("all", len(pools), replace(query, filters=()), selected=not query.filters)]
    for name in FILTERS:
        matching = sum(matches(pool, name) for pool in pools)
        selected = name in query.filters
        if matching or selected:
            links.append(_filter_link(name, matching, replace(query, filters=(name,)), selected=selected))
    return tag("nav", links, class_="filters", aria_label="Filter by state")


def _filter_link(name: str, matching: int, query: PageQuery, *, selected: bool) -> Html:
    return tag(
        "a",
        "needs attention" if name == ATTENTION else name.replace("_", " "),
        " ",
        tag("b", words.number(matching)),
        href=query.href(),
        class_=f"state {name}",
        aria_current="true" if selected else None,
    )


def _pool_table(pools: Sequence[Pool], now: datetime) -> Html:
    columns = (
        Column("Pool"),
        Column("State"),
        Column("Users", "number"),
        Column("Devices", "number"),
        Column("Sweep", "sweep"),
        Column("Last success"),
        Column("Problem", "problem"),
    )
    several_accounts = len({pool.aws_account_id for pool in pools if pool.aws_account_id}) > 1
    rows = [
        (
            _pool_name(pool, with_account=several_accounts),
            _state(words.STATE_NAMES[pool.state], pool.state),
            _users(pool),
            _devices(pool),
            _sweep(pool, now),
            _last_success(pool, now),
            _problem(pool, now),
        )
        for pool in pools
    ]
    return table("Sorted by severity", columns, rows, css_class="pools")


def _pool_name(pool: Pool, *, with_account: bool) -> Html:
    return concat(
        tag("span", pool.name or pool.id, class_="name", id_=pool.id),
        tag("small", pool.id) if pool.name else None,
        tag("small", f"account {pool.aws_account_id}") if with_account and pool.aws_account_id else None,
    )


def _state(text: str, state: PoolState) -> Html:
    return tag("span", text, class_=f"state {state.value}")


def _users(pool: Pool) -> Html | None:
    if pool.users is not None:
        return tag("span", words.number(pool.users))
    if pool.estimated_users is None:
        return None
    return tag("small", f"about {words.number(pool.estimated_users)}")


def _devices(pool: Pool) -> Html | None:
    if pool.devices is None:
        return None
    remembered = tag("small", f"{words.number(pool.devices.remembered)} remembered")
    return concat(tag("span", words.number(pool.devices.total)), remembered)


def _sweep(pool: Pool, now: datetime) -> Html | None:
    """Return the progress of the current sweep, or the time of the next one."""
    if pool.sweep is not None:
        ratio, remaining = pool.sweep.progress_ratio, pool.sweep.remaining_seconds
        progress = f"{words.number(pool.sweep.users_done)} read" if ratio is None else f"{ratio:.0%}"
        if remaining is not None:
            progress += f" · {words.duration(remaining)} left"
        value = None if ratio is None else str(ratio)
        bar = tag("progress", max="1", value=value, aria_label=f"Sweep of {pool.name or pool.id}")
        return concat(bar, tag("small", progress))
    if pool.next_sweep is None:
        return None
    kind = "retry" if pool.state.is_down else "next"
    due = _time(pool.next_sweep, f"{kind} {words.time_until(pool.next_sweep, now)}")
    if pool.last_sweep_duration_seconds is None:
        return due
    return concat(due, tag("small", f"last took {words.duration(pool.last_sweep_duration_seconds)}"))


def _last_success(pool: Pool, now: datetime) -> Html:
    success = pool.last_sweep_success
    overdue = tag("span", "overdue", class_="late") if pool.overdue else None
    return concat(tag("span", "never") if success is None else _time_since(success, now), " ", overdue)


def _problem(pool: Pool, now: datetime) -> Html | None:
    problems = [problem for problem in (_failure(pool, now), _users_not_read(pool)) if problem]
    return concat(problems) if problems else None


def _failure(pool: Pool, now: datetime) -> Html | None:
    """Return the last failure unless a sweep has succeeded since."""
    failure, success = pool.last_failure, pool.last_sweep_success
    if failure is not None and (pool.state.is_down or success is None or success < failure.time):
        code = tag("code", failure.reason.value)
        meaning = tag("small", words.REASON_MEANINGS[failure.reason])
        return concat(tag("span", code, " ", _time_since(failure.time, now)), meaning)
    return tag("small", "failed before the last restart") if pool.state.is_down else None


def _users_not_read(pool: Pool) -> Html | None:
    if not pool.users_not_read:
        return None
    counts = pool.failures_since_start.users
    reasons = sorted(counts, key=counts.__getitem__, reverse=True)
    return concat(
        tag("span", f"{counted(pool.users_not_read, 'user')} not read"),
        tag("small", "reasons since the process started: ", tag("code", ", ".join(reasons))),
    )


def _discovery(rules: Sequence[DiscoveryRule], now: datetime) -> Html | None:
    if not rules:
        return None
    columns = (
        Column("Rule and Region"),
        Column("Last run"),
        Column("Pools", "number"),
        Column("Last success"),
        Column("Problem", "problem"),
    )
    rows = [
        (
            concat(tag("span", f"discovery[{rule.index}]", class_="name"), tag("small", rule.aws_region)),
            _rule_state(rule),
            tag("span", words.number(rule.pools)),
            "never" if rule.last_success is None else _time_since(rule.last_success, now),
            _rule_problem(rule),
        )
        for rule in rules
    ]
    return tag("section", tag("h2", "Discovery"), table("Pools that are read because of a rule", columns, rows))


def _rule_state(rule: DiscoveryRule) -> Html:
    if rule.reason is not None:
        return _state("failing", PoolState.FAILING)
    return _state("ok", PoolState.OK) if rule.up else _state("not run yet", PoolState.UNREAD)


def _rule_problem(rule: DiscoveryRule) -> Html | None:
    if rule.reason is None:
        return None
    meaning = f"{words.REASON_MEANINGS[rule.reason]}; previously discovered pools are kept"
    return concat(tag("span", tag("code", rule.reason.value)), tag("small", meaning))


def _rate_limits(limits: Iterable[RateLimit]) -> Html | None:
    by_target: dict[tuple[str, str], dict[str, RateLimit]] = defaultdict(dict)
    for limit in limits:
        by_target[limit.aws_account_id, limit.aws_region][limit.category] = limit
    if not by_target:
        return None
    categories = list(dict.fromkeys(category for by_category in by_target.values() for category in by_category))
    rows = [
        (
            concat(tag("span", region, class_="name"), tag("small", f"account {account}")),
            *(_rate_limit(by_category.get(category)) for category in categories),
        )
        for (account, region), by_category in by_target.items()
    ]
    columns = [Column("Account and Region"), *(Column(category, "budget") for category in categories)]
    caption = "Requests per second over the last five seconds, and the rate limit"
    return tag("section", tag("h2", "Requests to AWS"), table(caption, columns, rows, css_class="budgets"))


def _rate_limit(limit: RateLimit | None) -> Html | None:
    if limit is None:
        return None
    used, allowed = words.rate(limit.used_requests_per_second), words.rate(limit.current_requests_per_second)
    lowered = limit.current_requests_per_second < 0.995 * limit.configured_requests_per_second
    bar = tag(
        "meter",
        min="0",
        max=str(limit.configured_requests_per_second),
        value=str(limit.used_requests_per_second),
        aria_label=f"{limit.category} in use",
    )
    configured = words.rate(limit.configured_requests_per_second)
    note = tag("small", f"throttled, configured {configured}/s", class_="warn") if lowered else None
    return concat(tag("span", f"{used} of {allowed}/s"), bar, note)


def _configuration(status: Status) -> Html:
    configuration = status.configuration
    loaded = _time_since(configuration.loaded, status.generated)
    facts: dict[str, str] = {
        "Loaded": concat(loaded, None if configuration.last_reload_successful else "; the last reload failed"),
        "Rates": _rates(configuration),
        "Series limit": words.number(configuration.series_limit),
        "State file": "yes, sweeps resume after a restart" if configuration.state_file else "none",
    }
    if status.process.shards > 1:
        facts["Shard"] = f"{status.process.shard_ordinal} of {status.process.shards}; users of other shards not counted"
    return tag("section", tag("h2", "Active configuration"), _facts(facts), _settings(status.pools))


def _rates(configuration: Configuration) -> str:
    rates = []
    for rate in configuration.rates:
        if rate.requests_per_second is not None:
            rates.append(f"{rate.category} {words.rate(rate.requests_per_second)}/s")
        else:
            rates.append(f"{rate.category} {100 * (rate.quota_share_ratio or 0):g}% of the quota")
    return ", ".join(rates)


def _settings(pools: Sequence[Pool]) -> Html | None:
    pools_by_settings: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pool in pools:
        pools_by_settings[_settings_cells(pool.settings)].append(pool.name or pool.id)
    if not pools_by_settings:
        return None
    columns = [Column(name) for name in ("Pools", "Users", "Interval", "Stale after", "Detail", "Access")]
    rows = [
        (", ".join(names) if len(names) <= _MAX_POOL_NAMES else counted(len(names), "pool"), *cells)
        for cells, names in sorted(pools_by_settings.items(), key=lambda item: -len(item[1]))
    ]
    return table("Pools with the same settings share a row", columns, rows)


def _settings_cells(settings: PoolSettings) -> tuple[str, ...]:
    selection = settings.users
    users = "all" if selection.kind == "everyone" else "by filter"
    if selection.count is not None:
        users = f"by {selection.kind} ({selection.count})"
    federated = "" if settings.skip_federated_users else ", including federated"
    attributes = f", attributes: {', '.join(settings.device_attributes)}" if settings.device_attributes else ""
    access = "assumed role" if settings.assumes_role else "default credentials"
    return (
        users + federated,
        canonical_duration(round(settings.refresh_interval_seconds * 1000)),
        ", ".join(settings.stale_after),
        f"{settings.detail}, identity {settings.identity}{attributes}",
        f"{access}, custom endpoint" if settings.custom_endpoint else access,
    )


def _legend() -> Html:
    meanings = {words.STATE_NAMES[state]: meaning for state, meaning in words.STATE_MEANINGS.items()}
    return tag("section", tag("h2", "Pool states"), _facts(meanings))


def _footer(status: Status, telemetry_path: str) -> Html:
    links = (
        (telemetry_path.removeprefix("/"), "metrics"),
        ("api/v1/status", "JSON"),
        ("-/healthy", "health"),
        ("-/ready", "readiness"),
        (f"{DOCUMENTATION}/status-page.md", "documentation"),
        (f"{DOCUMENTATION}/runbooks.md", "runbooks"),
    )
    build = status.build
    uptime = words.duration(status.process.uptime_seconds)
    return tag(
        "footer",
        tag("nav", [tag("a", name, href=href) for href, name in links], aria_label="Links"),
        tag("p", f"Version {build.version}, revision {build.revision}, Python {build.python_version}, up {uptime}"),
    )


def _facts(facts: Mapping[str, str]) -> Html:
    return tag("dl", (tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts.items()))


def _time_since(time: datetime, now: datetime) -> Html:
    return _time(time, words.time_since(time, now))


def _time(time: datetime, text: str) -> Html:
    """Return a time element with the exact time as a tooltip."""
    exact = words.rfc3339(time)
    return tag("time", text, datetime=exact, title=exact)
