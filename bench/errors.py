"""Why a figure is missing."""

from __future__ import annotations


class NotMeasured(Exception):
    """A figure could not be had; the text says why, and no number is shown in its place."""

    def __init__(self, why: str, detail: str = "") -> None:
        """`detail` is for whoever runs the bench, and not for the table: it may name files of this machine."""
        super().__init__(why)
        self.detail = detail
