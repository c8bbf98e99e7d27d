from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.faults.report import BEGIN, END, filled, main
from tests.acceptance.faults.rows import Row


def test_result_becomes_a_row_of_the_document(tmp_path: Path) -> None:
    row = Row("test", fault="fire", promised="no smoke", rounds=2, scrapes=9, scrapes_refused=1, recovered_after=1.25)
    row.calls_failed.update({"throttled": 3})
    results, document = tmp_path / "results", tmp_path / "document"
    results.write_text(json.dumps(vars(row)) + "\n")
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main([str(results), str(document)]) == 0
    text = document.read_text()
    assert "| fire | no smoke | 2 | 3 throttled | 8 of 9, 1 refused with 503 | 1.2 s | 0 | 0 |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_document_without_markers_is_rejected() -> None:
    with pytest.raises(ValueError, match="markers"):
        filled("nothing here", "content")


def test_document_in_the_repository_has_markers() -> None:
    document = Path(__file__).parents[3] / "docs/reliability.md"
    assert filled(document.read_text(encoding="utf-8"), "") != ""
