"""Errors of the benchmark."""

from __future__ import annotations


class NotMeasured(Exception):
    """Measurement that failed, with the reason. The table shows no number for it."""

    def __init__(self, why: str, detail: str = "") -> None:
        """`detail` is shown on the terminal but not in the table, because it may contain local paths."""
        super().__init__(why)
        self.detail = detail
