"""The status page as HTML: what stands on it, in which order, and what never does."""

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

from exporter.collect.snapshot import PoolView, SweepFailure
from exporter.errors import Reason
from exporter.metrics.self_metrics import SelfMetrics
from exporter.model import PoolState
from exporter.status import wording as words
from exporter.status.query import CHOICES
from exporter.status.report import Sources
from exporter.status.routes import status_routes
from exporter.web.messages import Request, Response, Route, dispatch
from tests.status_scenes import NOW, RULES, Looked, counted, every_state, many, seen_pool, sources
from tests.unit.metrics.builders import device, user, view

SECRETS = ("secret", "arn:aws", "alice", "bob")


def ask(told: Sources, query: str = "") -> Response:
    routes: dict[str, Route] = status_routes(told, telemetry_path="/metrics")
    return dispatch(routes, Request("GET", "/", parse_qs(query)))


def page(views: list[PoolView], query: str = "") -> str:
    answer = ask(sources(views), query)
    assert answer.status is HTTPStatus.OK
    return answer.body.decode()


class Outline(HTMLParser):
    """The rows of the pools' table, and whether every element is closed in its turn."""

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
    """What the rows of the pools' table say."""
    return Outline(text[text.index("<tbody") : text.index("</tbody>") + len("</tbody>")]).rows


def test_the_worst_stand_first_and_each_says_its_state_and_numbers() -> None:
    told = rows(page(every_state()))
    assert [row.split()[0] for row in told] == [
        "us-east-1_dEleted00",
        "partners",
        "mobile",
        "legacy-app",
        "brand-new",
        "customers",
        "shop-prod",
        "workforce",
    ]
    assert "denied" in told[1]
    assert "IAM does not allow an operation" in told[1]
    assert "41,007 67,250 66,310 remembered retry in 26 s" in told[2]
    assert "timeout" in told[2]
    assert "34 s ago" in told[2]
    assert "overdue" in told[2]
    assert "about 5,200" in told[4]
    assert "6% · 8 min left" in told[4]
    assert "17 users not read" in told[5]
    assert "34% · 13 min left" in told[6]


@pytest.mark.parametrize(
    ("views", "verdict"),
    [
        ([], "No user pool is configured"),
        (every_state(), "4 of 8 pools need attention"),
        ([seen_pool("eu-west-1_a", "a", last_success=NOW)], "The pool is well"),
        ([seen_pool("eu-west-1_a", "a", last_success=NOW)] * 2, "All 2 pools are well"),
        ([seen_pool("eu-west-1_a", "a", PoolState.UNREAD)], "1 of 1 pool not read yet"),
        ([seen_pool("eu-west-1_a", "a", PoolState.DENIED)], "1 of 1 pool needs attention"),
        ([seen_pool("eu-west-1_a", "a", last_success=NOW, users_not_read=1)], "1 of 1 pool needs attention"),
    ],
)
def test_the_verdict_is_heading_and_title(views: list[PoolView], verdict: str) -> None:
    text = page(views)
    assert re.search(rf"<h1[^>]*>{verdict}</h1>", text)
    assert f"<title>{verdict} – cognito-device-exporter</title>" in text


WELL = [seen_pool("eu-west-1_a", "a", last_success=NOW)]
LOOKED = Looked("0", "eu-west-1", 1, up=True, last_success=NOW)


@pytest.mark.parametrize(
    ("views", "rules", "verdict", "mood"),
    [
        (WELL, [LOOKED], "The pool is well", "good"),
        (WELL, RULES, "The pool is well, 1 of 2 discovery rules fails", "bad"),
        (WELL, [replace(one, reason=Reason.DENIED) for one in RULES], "The pool is well, 2 of 2 .* rules fail", "bad"),
        (every_state(), RULES, "4 of 8 pools need attention, 1 of 2 discovery rules fails", "bad"),
        ([], [LOOKED], "No user pool is found", "good"),
    ],
)
def test_the_verdict_counts_rules_that_fail(
    views: list[PoolView], rules: Sequence[Looked], verdict: str, mood: str
) -> None:
    text = ask(sources(views, rules=rules)).body.decode()
    assert re.search(rf'<h1 class="{mood}">{verdict}</h1>', text)


def test_rules_have_a_table_where_there_are_rules_those_that_fail_first() -> None:
    assert "Discovery" not in page(WELL)
    text = ask(sources(WELL, rules=RULES)).body.decode()
    Outline(text)
    assert text.count("<table") == text.count('role="table"') == 4
    denied = words.REASON_MEANINGS[Reason.DENIED]
    found = rows(text[text.index("<h2>Discovery</h2>") :])
    assert [" ".join(row.split()) for row in found] == [
        f"discovery[0] us-east-1 failing 2 2 h 1 min ago denied {denied}; pools found before are kept",
        "discovery[1] eu-central-1 not yet 0 never –",
        "discovery[0] eu-west-1 ok 3 3 min ago –",
    ]


@pytest.mark.parametrize("query", ["", "refresh=off", "state=failing"])
def test_the_page_is_well_formed_and_links_keep_what_was_chosen(query: str) -> None:
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
def test_the_query_chooses_pools(query: str, shown: int) -> None:
    assert len(rows(page(every_state(), query))) == shown


def test_a_choice_that_nothing_is_like_any_more_keeps_its_link() -> None:
    text = page([seen_pool("eu-west-1_a", "a", last_success=NOW)], "state=failing")
    assert "No pool is like that now." in text
    assert "failing <b>0</b>" in text
    assert 'href="."' in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [("state=dead", f"state: expected one of {', '.join(CHOICES)}"), ("refresh=1", "refresh: expected one of 5, 10")],
)
def test_a_choice_that_there_is_not_is_refused(query: str, expected: str) -> None:
    answer = ask(sources([]), query)
    assert answer.status is HTTPStatus.BAD_REQUEST
    assert answer.body.decode().startswith(expected)


@pytest.mark.parametrize(
    ("query", "header"), [("", "10"), ("refresh=5", "5"), ("refresh=60", "60"), ("refresh=off", None)]
)
def test_the_page_loads_itself_anew_unless_told_not_to(query: str, header: str | None) -> None:
    answer = ask(sources(every_state()), query)
    assert dict(answer.headers).get("Refresh") == header
    assert b"http-equiv" not in answer.body


def test_the_page_may_load_and_run_nothing_but_its_style() -> None:
    answer = ask(sources(every_state()))
    policy = dict(answer.headers)["Content-Security-Policy"]
    style = re.search(rb"<style>(.*?)</style>", answer.body, re.DOTALL)
    assert style
    digest = b64encode(sha256(style[1]).digest()).decode()
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy
    assert not re.search(rb"<script|<link|<img|<iframe| style=| on[a-z]+=| src=|url\(|@import", answer.body)


def test_names_of_users_roles_and_addresses_stand_nowhere() -> None:
    views = [*every_state(), view(user("alice", device("secret-device")), pool_id="eu-west-1_Raw")]
    for path in ("/", "/api/v1/status"):
        answer = dispatch(status_routes(sources(views), telemetry_path="/metrics"), Request("GET", path))
        text = answer.body.decode().lower()
        assert "partners" in text
        assert [secret for secret in SECRETS if secret in text] == []


def test_what_pools_are_called_is_text() -> None:
    hostile = '<script>"&\ud800'
    text = page([seen_pool("eu-west-1_a", hostile, last_success=NOW, data=counted(1, 1))])
    assert "&lt;script&gt;&quot;&amp;\\ud800" in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("change", "notice"),
    [
        (lambda own: own.configuration_loaded(successful=False, now=NOW), "the one loaded 3 h ago is in force"),
        (lambda own: own.identity_exposed(exposed=True), "Raw user names are served"),
        (lambda own: own.unexpected_error("web"), "1 error that nobody foresaw"),
        (lambda own: own.state_failed(), "1 failure to read or write the state file"),
    ],
)
def test_what_is_wrong_with_the_exporter_itself_stands_at_the_top(
    change: Callable[[SelfMetrics], None], notice: str
) -> None:
    told = sources(every_state())
    assert notice not in ask(told).body.decode()
    change(told.own)
    assert notice in ask(told).body.decode()


def test_a_failure_is_shown_until_a_sweep_has_succeeded() -> None:
    failed = seen_pool("eu-west-1_a", "a", PoolState.FAILING, last_failure=SweepFailure(Reason.TIMEOUT, NOW - 60))
    assert "timeout" in rows(page([failed]))[0]
    well = replace(failed, state=PoolState.OK, last_success=NOW - 1)
    assert "timeout" not in rows(page([well]))[0]
    restored = replace(failed, last_failure=None)
    assert "failed before this start" in rows(page([restored]))[0]


def test_pools_that_are_configured_alike_share_a_row() -> None:
    text = page(every_state())
    assert "7 pools" in text
    assert "by usernames (2)" in text
    assert "role, own endpoint" in text
    assert "UserResourceRead 20% of the quota" in text


def test_tables_are_tables_by_role_too_for_browsers_that_no_longer_see_one_in_cards() -> None:
    text = page(every_state())
    assert text.count("<table") == text.count('role="table"') == 3
    assert text.count("<td") == text.count('role="cell"')
    assert text.count("<tr") == text.count('role="row"')


def test_a_lowered_rate_says_from_what() -> None:
    text = page(every_state())
    assert "9.8 of 10/s" in text
    assert "4.8 of 4.9/s" in text
    assert text.count("throttled: from 10") == 1


def test_two_hundred_pools_stand_in_one_page_of_moderate_size() -> None:
    text = page(many(200))
    assert len(rows(text)) == 200
    assert len(text) < 300_000


@pytest.mark.parametrize(
    ("seconds", "told"),
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
def test_durations_have_at_most_two_units(seconds: float, told: str) -> None:
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("per_second", "told"), [(0, "0"), (0.04, "0"), (4.96, "5"), (9.84, "9.8"), (100.4, "100"), (1200, "1,200")]
)
def test_rates_have_a_tenth_where_it_matters(per_second: float, told: str) -> None:
    assert words.rate(per_second) == told


def test_every_state_and_reason_has_words() -> None:
    assert set(words.STATE_MEANINGS) == set(PoolState)
    assert set(words.REASON_MEANINGS) == set(Reason)
