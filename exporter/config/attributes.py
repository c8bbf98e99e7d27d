"""The labels that device attributes get."""

from __future__ import annotations

import re

_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def attribute_label(name: str) -> str:
    """The label of a device attribute: `dev:device_sdk` gives `attribute_dev_device_sdk`."""
    return "attribute_" + _NOT_IN_A_LABEL.sub("_", name)
