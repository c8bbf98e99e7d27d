"""JSON schema without additional properties, so that every field of a response must be documented."""

from __future__ import annotations

from copy import deepcopy
from typing import Any


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without additional properties; the documented one allows them, as fields may be added."""
    closed = deepcopy(schema)
    for part in closed["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    return closed
