"""The status page: one document, no script, nothing to load, and no user names."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files

from exporter.config.duration import canonical_duration
from exporter.model import PoolState
from exporter.status import wording as words
from exporter.status.document import Budget, Pool, PoolSettings, Status
from exporter.status.html import Html, joined, tag, trusted
from exporter.status.pools_table import pools_table
from exporter.status.query import ATTENTION, CHOICES, REFRESH_SECONDS, View, belongs, needs_attention
from exporter.status.rules_table import rules_table
from exporter.status.tables import Column, table

NAME = "cognito-device-exporter"

DOCUMENTATION = "https://github.com/cognito-device-exporter/cognito-device-exporter/blob/main/docs"

_STYLE = files("exporter.status").joinpath("status.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing may be loaded or run but the one style sheet in the page."""

_POOLS_NAMED = 3
"""Settings that so many pools share name them, those of more count them."""


def page(status: Status, view: View, *, telemetry_path: str) -> str:
    """The page as HTML; links are relative, so that it may stand below any path of a proxy."""
    verdict = _verdict(status)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{verdict} – {NAME}"),
        tag("style", trusted(_STYLE)),
    )
    body = tag(
        "body",
        _header(status, view, verdict),
        tag(
            "main",
            _pools(status, view),
            _discovery(status),
            _rate_limiters(status.budgets),
            _configuration(status),
            _legend(),
        ),
        _footer(status, telemetry_path),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _verdict(status: Status) -> str:
    pools = _verdict_on_pools(status)
    failing, rules = status.summary.discovery_rules_failing, status.summary.discovery_rules
    if not failing:
        return pools
    return f"{pools}, {failing} of {words.counted(rules, 'discovery rule')} {'fails' if failing == 1 else 'fail'}"


def _verdict_on_pools(status: Status) -> str:
    pools = status.pools
    if not pools:
        return "No user pool is found" if status.discovery else "No user pool is configured"
    bad = sum(map(needs_attention, pools))
    if bad:
        return f"{bad} of {words.counted(len(pools), 'pool')} {'needs' if bad == 1 else 'need'} attention"
    unread = sum(pool.state is PoolState.UNREAD for pool in pools)
    if unread:
        return f"{unread} of {words.counted(len(pools), 'pool')} not read yet"
    return "The pool is well" if len(pools) == 1 else f"All {words.count(len(pools))} pools are well"


def _header(status: Status, view: View, verdict: str) -> Html:
    summary = status.summary
    facts = [words.counted(summary.users, "user"), words.counted(summary.devices, "device")]
    if summary.pools_sweeping:
        facts.append(f"{words.counted(summary.pools_sweeping, 'sweep')} under way")
    told = " · ".join(facts)
    stamp = tag("time", f"{status.generated:%H:%M:%S} UTC", datetime=words.rfc3339(status.generated))
    trouble = summary.discovery_rules_failing or any(map(needs_attention, status.pools))
    mood = "bad" if trouble else "good"
    return tag(
        "header",
        tag("p", NAME, class_="product"),
        tag("h1", verdict, class_=mood),
        tag("p", f"{told} · as of ", stamp, class_="facts"),
        _notices(status),
        _refresh(view),
    )


def _refresh(view: View) -> Html:
    links = [
        tag(
            "a",
            "off" if seconds is None else f"{seconds} s",
            href=replace(view, refresh_seconds=seconds).address(),
            aria_current="true" if seconds == view.refresh_seconds else None,
        )
        for seconds in (*REFRESH_SECONDS, None)
    ]
    return tag("nav", tag("span", "Refresh"), links, class_="refresh", aria_label="How often the page loads anew")


def _notices(status: Status) -> Html | None:
    process, configuration = status.process, status.configuration
    found: list[str] = []
    if not configuration.last_reload_successful:
        loaded = words.ago(configuration.loaded, status.generated)
        found.append(f"The configuration in place was refused, the log says why; the one loaded {loaded} is in force.")
    if process.identity_exposed:
        found.append("Raw user names are served on the metrics page without authentication beyond loopback.")
    if process.unexpected_failures:
        found.append(f"{words.counted(process.unexpected_failures, 'error')} that nobody foresaw: see the log.")
    if process.state_errors:
        failures = words.counted(process.state_errors, "failure")
        found.append(f"{failures} to read or write the state file: a restart may not resume.")
    return tag("ul", (tag("li", notice) for notice in found), class_="notices") if found else None


def _pools(status: Status, view: View) -> Html:
    shown = [pool for pool in status.pools if view.shows(pool)]
    content = pools_table(shown, status.generated) if shown else tag("p", "No pool is like that now.", class_="empty")
    return tag("section", tag("h2", "User pools"), _filters(status, view), content)


def _discovery(status: Status) -> Html | None:
    if not status.discovery:
        return None
    return tag("section", tag("h2", "Discovery"), rules_table(status.discovery, status.generated))


def _filters(status: Status, view: View) -> Html | None:
    if not status.pools:
        return None
    links = [_filter("all", len(status.pools), replace(view, states=()), current=not view.states)]
    for choice in CHOICES:
        pools = sum(belongs(pool, choice) for pool in status.pools)
        if pools or choice in view.states:
            chosen = replace(view, states=(choice,))
            links.append(_filter(choice, pools, chosen, current=choice in view.states))
    return tag("nav", links, class_="filters", aria_label="Which pools are shown")


def _filter(choice: str, pools: int, view: View, *, current: bool) -> Html:
    name = "needs attention" if choice == ATTENTION else choice.replace("_", " ")
    return tag(
        "a",
        name,
        " ",
        tag("b", words.count(pools)),
        href=view.address(),
        class_=f"state {choice}",
        aria_current="true" if current else None,
    )


def _rate_limiters(budgets: Iterable[Budget]) -> Html | None:
    by_target: dict[tuple[str, str], dict[str, Budget]] = defaultdict(dict)
    for budget in budgets:
        by_target[budget.aws_account_id, budget.aws_region][budget.category] = budget
    if not by_target:
        return None
    categories = list(dict.fromkeys(category for of_target in by_target.values() for category in of_target))
    rows = [
        (
            joined(tag("span", region, class_="name"), tag("small", f"account {account}")),
            *(_budget(of_target.get(category)) for category in categories),
        )
        for (account, region), of_target in by_target.items()
    ]
    columns = [Column("Account and Region"), *(Column(category, "budget") for category in categories)]
    return tag(
        "section",
        tag("h2", "Requests to AWS"),
        table("Requests per second in use, of those that the rate budgets allow", columns, rows, class_="budgets"),
    )


def _budget(budget: Budget | None) -> Html | None:
    if budget is None:
        return None
    used, allowed = words.rate(budget.used_requests_per_second), words.rate(budget.current_requests_per_second)
    lowered = budget.current_requests_per_second < 0.995 * budget.configured_requests_per_second
    bar = tag(
        "meter",
        min="0",
        max=str(budget.configured_requests_per_second),
        value=str(budget.used_requests_per_second),
        aria_label=f"{budget.category} in use",
    )
    configured = words.rate(budget.configured_requests_per_second)
    note = tag("small", f"throttled: from {configured}", class_="warn") if lowered else None
    return joined(tag("span", f"{used} of {allowed}/s"), bar, note)


def _configuration(status: Status) -> Html:
    configuration = status.configuration
    loaded = tag(
        "time",
        words.ago(configuration.loaded, status.generated),
        datetime=words.rfc3339(configuration.loaded),
    )
    rates = ", ".join(
        f"{rate.category} {_rate(rate.requests_per_second, rate.quota_share_ratio)}" for rate in configuration.rates
    )
    facts: dict[str, str] = {
        "Loaded": joined(loaded, "" if configuration.last_reload_successful else "; what came after was refused"),
        "Rates": rates,
        "Series limit": words.count(configuration.series_limit),
        "State file": "yes: a restart resumes" if configuration.state_file else "none: a restart begins anew",
    }
    if status.process.shards > 1:
        facts["Shard"] = f"{status.process.shard_ordinal} of {status.process.shards}, which counts its own users"
    return tag("section", tag("h2", "Configuration in force"), _facts(facts), _settings(status.pools))


def _rate(per_second: float | None, share: float | None) -> str:
    if per_second is not None:
        return f"{words.rate(per_second)}/s"
    return f"{100 * (share or 0):g}% of the quota"


def _settings(pools: Sequence[Pool]) -> Html | None:
    """Pools that are configured alike share a row."""
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for pool in pools:
        alike[_setting_words(pool.settings)].append(pool.name or pool.id)
    if not alike:
        return None
    names = ("Pools", "Users", "Interval", "Stale after", "Detail", "Access")
    rows = [
        (", ".join(named) if len(named) <= _POOLS_NAMED else words.counted(len(named), "pool"), *settings)
        for settings, named in sorted(alike.items(), key=lambda entry: -len(entry[1]))
    ]
    return table("How pools are read; those alike stand together", [Column(name) for name in names], rows)


def _setting_words(settings: PoolSettings) -> tuple[str, ...]:
    selection = settings.users
    users = "everyone" if selection.kind == "everyone" else "by filter"
    if selection.count is not None:
        users = f"by {selection.kind} ({selection.count})"
    federated = "" if settings.skip_federated_users else ", federated too"
    attributes = f", attributes: {', '.join(settings.device_attributes)}" if settings.device_attributes else ""
    access = "role" if settings.assumes_role else "own credentials"
    return (
        users + federated,
        canonical_duration(round(settings.refresh_interval_seconds * 1000)),
        ", ".join(settings.stale_after),
        f"{settings.detail}, identity {settings.identity}{attributes}",
        f"{access}, own endpoint" if settings.custom_endpoint else access,
    )


def _facts(facts: Mapping[str, str]) -> Html:
    return tag("dl", (tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts.items()))


def _legend() -> Html:
    meanings = {words.STATE_NAMES[state]: meaning for state, meaning in words.STATE_MEANINGS.items()}
    return tag("section", tag("h2", "What the states mean"), _facts(meanings))


def _footer(status: Status, telemetry_path: str) -> Html:
    links = (
        (telemetry_path.removeprefix("/"), "metrics"),
        ("api/v1/status", "this as JSON"),
        ("-/healthy", "healthy?"),
        ("-/ready", "ready?"),
        (f"{DOCUMENTATION}/status-page.md", "about this page"),
        (f"{DOCUMENTATION}/runbooks.md", "runbooks"),
    )
    build = status.build
    up = words.duration(status.process.uptime_seconds)
    return tag(
        "footer",
        tag("nav", [tag("a", name, href=address) for address, name in links], aria_label="More"),
        tag("p", f"Version {build.version}, revision {build.revision}, Python {build.python_version}, up {up}"),
    )
