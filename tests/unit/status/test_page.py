"""HTML of the status page."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import parse_qs

import pytest

from exporter.collect.snapshot import PoolView, RuleState, SweepFailure
from exporter.errors import Reason
from exporter.metrics.self_metrics import SelfMetrics
from exporter.model import PoolState
from exporter.status import wording as words
from exporter.status.query import FILTERS
from exporter.status.report import StatusReporter
from exporter.status.routes import status_routes
from exporter.web.messages import Request, Response, Route, dispatch
from tests.status_scenes import NOW, RULES, every_state, many_pools, pool_data, pool_view, reporter
from tests.unit.metrics.builders import device, user, view

SECRETS = ("secret", "arn:aws", "alice", "bob")


def get(of: StatusReporter, query: str = "") -> Response:
    routes: dict[str, Route] = status_routes(of, telemetry_path="/metrics")
    return dispatch(routes, Request("GET", "/", parse_qs(query)))


def page(views: list[PoolView], query: str = "") -> str:
    response = get(reporter(views), query)
    assert response.status is HTTPStatus.OK
    return response.body.decode()


class Outline(HTMLParser):
    """Rows of a table; asserts that elements are closed in the right order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "tr" in self.open:
            self.rows[-1] += f"{data} "


def rows(text: str) -> list[str]:
    """Text of the rows of the first table."""
    return Outline(text[text.index("<tbody") : text.index("</tbody>") + len("</tbody>")]).rows


def test_pools_are_sorted_with_state_and_numbers() -> None:
    found = rows(page(every_state()))
    assert [row.split()[0] for row in found] == [
        "us-east-1_dEleted00",
        "partners",
        "mobile",
        "legacy-app",
        "brand-new",
        "customers",
        "shop-prod",
        "workforce",
    ]
    assert "denied" in found[1]
    assert "IAM does not allow an operation" in found[1]
    assert "41,007 67,250 66,310 remembered retry in 26 s" in found[2]
    assert "timeout" in found[2]
    assert "34 s ago" in found[2]
    assert "overdue" in found[2]
    assert "about 5,200" in found[4]
    assert "6% · 8 min left" in found[4]
    assert "17 users not read" in found[5]
    assert "34% · 13 min left" in found[6]


@pytest.mark.parametrize(
    ("views", "headline"),
    [
        ([], "No user pools configured"),
        (every_state(), "4 of 8 pools need attention"),
        ([pool_view("eu-west-1_a", "a", last_success=NOW)], "The pool is healthy"),
        ([pool_view("eu-west-1_a", "a", last_success=NOW)] * 2, "All 2 pools are healthy"),
        ([pool_view("eu-west-1_a", "a", PoolState.UNREAD)], "1 of 1 pool not read yet"),
        ([pool_view("eu-west-1_a", "a", PoolState.DENIED)], "1 of 1 pool needs attention"),
        ([pool_view("eu-west-1_a", "a", last_success=NOW, users_not_read=1)], "1 of 1 pool needs attention"),
    ],
)
def test_headline_is_heading_and_title(views: list[PoolView], headline: str) -> None:
    text = page(views)
    assert re.search(rf"<h1[^>]*>{headline}</h1>", text)
    assert f"<title>{headline} – cognito-device-exporter</title>" in text


HEALTHY = [pool_view("eu-west-1_a", "a", last_success=NOW)]
RULE = RuleState("0", "eu-west-1", 1, up=True, last_success=NOW, reason=None)


@pytest.mark.parametrize(
    ("views", "rules", "headline", "css_class"),
    [
        (HEALTHY, [RULE], "The pool is healthy", "good"),
        (HEALTHY, RULES, "The pool is healthy, 1 of 2 discovery rules failing", "bad"),
        (
            HEALTHY,
            [replace(one, reason=Reason.DENIED) for one in RULES],
            "The pool is healthy, 2 of 2 .* rules failing",
            "bad",
        ),
        (every_state(), RULES, "4 of 8 pools need attention, 1 of 2 discovery rules failing", "bad"),
        ([], [RULE], "No user pools found", "good"),
    ],
)
def test_headline_counts_failing_rules(
    views: list[PoolView], rules: Sequence[RuleState], headline: str, css_class: str
) -> None:
    text = get(reporter(views, rules=rules)).body.decode()
    assert re.search(rf'<h1 class="{css_class}">{headline}</h1>', text)


def test_rules_have_a_table_with_failing_ones_first() -> None:
    assert "Discovery" not in page(HEALTHY)
    text = get(reporter(HEALTHY, rules=RULES)).body.decode()
    Outline(text)
    assert text.count("<table") == text.count('role="table"') == 4
    denied = words.REASON_MEANINGS[Reason.DENIED]
    found = rows(text[text.index("<h2>Discovery</h2>") :])
    assert [" ".join(row.split()) for row in found] == [
        f"discovery[0] us-east-1 failing 2 2 h 1 min ago denied {denied}; previously discovered pools are kept",
        "discovery[1] eu-central-1 not run yet 0 never –",
        "discovery[0] eu-west-1 ok 3 3 min ago –",
    ]


@pytest.mark.parametrize("query", ["", "refresh=off", "state=failing"])
def test_page_is_well_formed_and_links_keep_the_query(query: str) -> None:
    text = page(every_state(), query)
    outline = Outline(text)
    assert len(outline.ids) == len(set(outline.ids))
    if query == "state=failing":
        assert [row.split()[0] for row in rows(text)] == ["mobile"]
        assert 'href="?state=failing&amp;refresh=off"' in text
    elif query == "refresh=off":
        assert 'href="?state=failing&amp;refresh=off"' in text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("state=attention", 4),
        ("state=overdue", 2),
        ("state=ok", 3),
        ("state=ok&state=denied", 4),
        ("state=tracking_off", 1),
        ("other=1", 8),
    ],
)
def test_query_filters_pools(query: str, shown: int) -> None:
    assert len(rows(page(every_state(), query))) == shown


def test_filter_without_matches_keeps_its_link() -> None:
    text = page([pool_view("eu-west-1_a", "a", last_success=NOW)], "state=failing")
    assert "No pools match the filter." in text
    assert "failing <b>0</b>" in text
    assert 'href="."' in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [("state=dead", f"state: expected one of {', '.join(FILTERS)}"), ("refresh=1", "refresh: expected one of 5, 10")],
)
def test_invalid_query_is_rejected(query: str, expected: str) -> None:
    response = get(reporter([]), query)
    assert response.status is HTTPStatus.BAD_REQUEST
    assert response.body.decode().startswith(expected)


@pytest.mark.parametrize(
    ("query", "header"), [("", "10"), ("refresh=5", "5"), ("refresh=60", "60"), ("refresh=off", None)]
)
def test_page_refreshes_unless_turned_off(query: str, header: str | None) -> None:
    response = get(reporter(every_state()), query)
    assert dict(response.headers).get("Refresh") == header
    assert b"http-equiv" not in response.body


def test_page_may_load_only_its_style() -> None:
    response = get(reporter(every_state()))
    policy = dict(response.headers)["Content-Security-Policy"]
    style = re.search(rb"<style>(.*?)</style>", response.body, re.DOTALL)
    assert style
    digest = b64encode(sha256(style[1]).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy
    assert not re.search(rb"<script|<link|<img|<iframe| style=| on[a-z]+=| src=|url\(|@import", response.body)


def test_page_omits_user_names_roles_and_addresses() -> None:
    views = [*every_state(), view(user("alice", device("secret-device")), pool_id="eu-west-1_Raw")]
    for path in ("/", "/api/v1/status"):
        response = dispatch(status_routes(reporter(views), telemetry_path="/metrics"), Request("GET", path))
        text = response.body.decode().lower()
        assert "partners" in text
        assert [secret for secret in SECRETS if secret in text] == []


def test_pool_name_is_escaped() -> None:
    hostile = '<script>"&\ud800'
    text = page([pool_view("eu-west-1_a", hostile, last_success=NOW, data=pool_data(1, 1))])
    assert "&lt;script&gt;&quot;&amp;\\ud800" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (
            lambda own: own.configuration_loaded(successful=False, now=NOW),
            "The configuration loaded 3 h ago is still active",
        ),
        (lambda own: own.identity_exposed(exposed=True), "Raw user names are served"),
        (lambda own: own.unexpected_error("web"), "1 unexpected error, see the log"),
        (lambda own: own.state_failed(), "1 error reading or writing the state file"),
    ],
)
def test_exporter_problem_has_a_notice(change: Callable[[SelfMetrics], None], notice: str) -> None:
    of = reporter(every_state())
    assert notice not in get(of).body.decode()
    change(of.self_metrics)
    assert notice in get(of).body.decode()


def test_failure_is_shown_until_a_sweep_succeeds() -> None:
    failed = pool_view("eu-west-1_a", "a", PoolState.FAILING, last_failure=SweepFailure(Reason.TIMEOUT, NOW - 60))
    assert "timeout" in rows(page([failed]))[0]
    recovered = replace(failed, state=PoolState.OK, last_success=NOW - 1)
    assert "timeout" not in rows(page([recovered]))[0]
    restored = replace(failed, last_failure=None)
    assert "failed before the last restart" in rows(page([restored]))[0]


def test_pools_with_the_same_settings_share_a_row() -> None:
    text = page(every_state())
    assert "7 pools" in text
    assert "by usernames (2)" in text
    assert "assumed role, custom endpoint" in text
    assert "UserResourceRead 20% of the quota" in text


def test_tables_have_explicit_roles() -> None:
    text = page(every_state())
    assert text.count("<table") == text.count('role="table"') == 3
    assert text.count("<td") == text.count('role="cell"')
    assert text.count("<tr") == text.count('role="row"')


def test_lowered_rate_shows_the_configured_one() -> None:
    text = page(every_state())
    assert "9.8 of 10/s" in text
    assert "4.8 of 4.9/s" in text
    assert text.count("throttled, configured 10/s") == 1


def test_page_of_200_pools_is_below_300_kb() -> None:
    text = page(many_pools(200))
    assert len(rows(text)) == 200
    assert len(text) < 300_000


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration_has_at_most_two_units(seconds: float, expected: str) -> None:
    assert words.duration(seconds) == expected


@pytest.mark.parametrize(
    ("per_second", "expected"), [(0, "0"), (0.04, "0"), (4.96, "5"), (9.84, "9.8"), (100.4, "100"), (1200, "1,200")]
)
def test_rate_has_one_decimal_below_100(per_second: float, expected: str) -> None:
    assert words.rate(per_second) == expected


def test_every_state_and_reason_has_a_meaning() -> None:
    assert set(words.STATE_MEANINGS) == set(PoolState)
    assert set(words.REASON_MEANINGS) == set(Reason)
