"""The table of discovery rules on the status page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from exporter.model import PoolState
from exporter.status import wording as words
from exporter.status.document import Rule
from exporter.status.html import Html, joined, tag
from exporter.status.tables import Column, moment, table

_COLUMNS = (
    Column("Rule and Region"),
    Column("Last look"),
    Column("Pools", "number"),
    Column("Last success"),
    Column("Trouble", "trouble"),
)


def rules_table(rules: Sequence[Rule], now: datetime) -> Html:
    """The rules in the order given, a row for each of their Regions."""
    rows = [
        (
            joined(tag("span", f"discovery[{rule.index}]", class_="name"), tag("small", rule.aws_region)),
            _state(rule),
            tag("span", words.count(rule.pools)),
            "never" if rule.last_success is None else moment(rule.last_success, words.ago(rule.last_success, now)),
            _trouble(rule),
        )
        for rule in rules
    ]
    return table("Rules as configured; pools are those read because of the rule", _COLUMNS, rows)


def _state(rule: Rule) -> Html:
    """In the colours of the pools' states."""
    if rule.reason is not None:
        return tag("span", "failing", class_=f"state {PoolState.FAILING.value}")
    if rule.up:
        return tag("span", "ok", class_=f"state {PoolState.OK.value}")
    return tag("span", "not yet", class_=f"state {PoolState.UNREAD.value}")


def _trouble(rule: Rule) -> Html | None:
    if rule.reason is None:
        return None
    kept = f"{words.REASON_MEANINGS[rule.reason]}; pools found before are kept"
    return joined(tag("span", tag("code", rule.reason.value)), tag("small", kept))
