"""Names in PromQL expressions, checked against the exporter's metrics and labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, MatrixSelector, StringLiteral, VectorSelector

from exporter.metrics.catalog import CATALOG
from exporter.metrics.spec import SUFFIXES

Vocabulary = Mapping[str, frozenset[str]]
"""Label names by sample name."""

TARGET_LABELS = frozenset({"job", "instance", "namespace"})
"""Labels that Prometheus adds to every sample; `namespace` only in Kubernetes."""

_ATTRIBUTE_PREFIX = "attribute_"
"""Prefix of the labels of configured device attributes."""

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::\w+)?\}|(?P<plain>[A-Za-z_]\w*))")
_DURATIONS = frozenset({"__rate_interval", "__interval", "__range"})


def substitute(expr: str, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """Replace Grafana's variables in an expression.

    Variables that Grafana defines become `5m`. Others are looked up in `variables` and default to `1`, which is valid
    as a number and in a string.
    """

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"]
        return variables.get(name, "5m" if name in _DURATIONS else "1")

    return _VARIABLE.sub(value, expr)


def parsed(expr: str) -> Expr:
    """Parse an expression. Raise `ValueError` if it is not valid PromQL."""
    tree: Expr = promql_parser.parse(expr)
    return tree


def selectors(expr: str) -> tuple[VectorSelector, ...]:
    """Return all vector selectors, including those in ranges."""
    return tuple(node for node in _nodes(parsed(expr)) if isinstance(node, VectorSelector))


def ranges(expr: str) -> tuple[tuple[str, timedelta], ...]:
    """Return the metric and the length of every range."""
    found = (node for node in _nodes(parsed(expr)) if isinstance(node, MatrixSelector))
    return tuple((_metric(node.vector_selector), node.range) for node in found)


def metrics_of(expr: str) -> frozenset[str]:
    """Return the metric names in an expression."""
    return frozenset(_metric(selector) for selector in selectors(expr))


def labels_of(expr: str) -> frozenset[str]:
    """Return the labels that an expression matches, groups by, joins on or joins in."""
    matched = (label for selector in selectors(expr) for label in _matched(selector))
    return frozenset(matched) | _grouping_labels(expr)


def unknown_names(expr: str, vocabulary: Vocabulary) -> list[str]:
    """Return the unknown names in an expression.

    These are metrics outside the vocabulary, matchers for labels that the metric does not have, and labels to group by
    or join on that neither a metric has nor the expression creates.
    """
    found = [name for name in sorted(metrics_of(expr)) if name not in vocabulary]
    for selector in selectors(expr):
        known = vocabulary.get(_metric(selector), frozenset()) | TARGET_LABELS
        found += [f"{_metric(selector)}{{{label}}}" for label in _matched(selector) if not _is_known(label, known)]
    everywhere = TARGET_LABELS.union(_created_labels(expr), *(vocabulary.get(name, ()) for name in metrics_of(expr)))
    found += [label for label in sorted(_grouping_labels(expr)) if not _is_known(label, everywhere)]
    return found


def catalog_vocabulary() -> Vocabulary:
    """Return the series of the exporter, of its client library, and of Prometheus itself."""
    known: dict[str, frozenset[str]] = {
        spec.name + suffix: frozenset(spec.labels) | ({"le"} if suffix == "_bucket" else set())
        for spec in CATALOG
        for suffix in SUFFIXES[spec.type]
    }
    return {**known, **{name: frozenset() for name in _PROCESS}, **_OF_PROMETHEUS}


def with_recording_rules(vocabulary: Vocabulary, rules: Iterable[Mapping[str, Any]]) -> Vocabulary:
    """Return the vocabulary extended by the series of the recording rules.

    A recorded series may have the labels that its rule groups by or sets.
    """
    known = dict(vocabulary)
    for rule in rules:
        if "record" in rule:
            read = (known.get(name, frozenset()) for name in metrics_of(rule["expr"]) if ":" in name)
            labels = _grouping_labels(rule["expr"]).union(*read, _created_labels(rule["expr"]), rule.get("labels", ()))
            known[rule["record"]] = known.get(rule["record"], frozenset()) | labels
    return known


_PROCESS = (
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
)
_OF_PROMETHEUS: Vocabulary = {
    "python_info": frozenset({"implementation", "major", "minor", "patchlevel", "version"}),
    "up": frozenset(),
    "scrape_duration_seconds": frozenset(),
    "scrape_samples_scraped": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
}


def _nodes(tree: Expr) -> list[Expr]:
    found: list[Expr] = []
    promql_parser.walk(tree, found.append)
    return found


def _metric(selector: VectorSelector) -> str:
    """Return the metric name of a selector, or an empty string."""
    return selector.name or ""


def _matched(selector: VectorSelector) -> list[str]:
    return [matcher.name for matcher in selector.matchers.matchers if matcher.name != "__name__"]


def _grouping_labels(expr: str) -> frozenset[str]:
    """Return the labels that an expression groups by, joins on or joins in."""
    found: set[str] = set()
    for node in _nodes(parsed(expr)):
        if isinstance(node, AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        if isinstance(node, BinaryExpr) and node.modifier:
            found.update(node.modifier.matching.labels if node.modifier.matching else ())
            found.update(node.modifier.group_labels or ())
    return frozenset(found)


def _created_labels(expr: str) -> Iterator[str]:
    """Yield the labels that an expression creates."""
    for node in _nodes(parsed(expr)):
        if isinstance(node, Call) and node.func.name in {"label_replace", "label_join"}:
            yield _text(node.args[1])
        if isinstance(node, AggregateExpr) and isinstance(node.param, StringLiteral):
            yield node.param.val


def _text(node: Expr) -> str:
    if not isinstance(node, StringLiteral):
        raise TypeError(f"{node} is not a string")
    return node.val


def _is_known(label: str, known: Iterable[str]) -> bool:
    return label in known or label.startswith(_ATTRIBUTE_PREFIX)
