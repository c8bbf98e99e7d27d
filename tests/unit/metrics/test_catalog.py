from __future__ import annotations

import re

from exporter.metrics.catalog import CATALOG
from exporter.metrics.spec import MetricType
from tools import metrics_doc


def test_documentation_is_current() -> None:
    assert metrics_doc.TARGET.read_text(encoding="utf-8") == metrics_doc.render(), "run `make docs`"


def test_names_are_unique_and_follow_conventions() -> None:
    names = [spec.name for spec in CATALOG]
    assert len(names) == len(set(names))
    for spec in CATALOG:
        assert re.fullmatch(r"cognito_(user_pool|user|device|exporter)_[a-z_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.type is MetricType.COUNTER)
        assert not spec.name.endswith(("_count", "_sum", "_bucket", "_created"))


def test_help_needs_no_escaping() -> None:
    for spec in CATALOG:
        assert not set(spec.help) & {'"', "\\", "\n"}, spec.name
        assert len(spec.description) > 20, f"{spec.name} has no description"
        assert "Over shards: " in spec.help
