"""A schema that allows what it describes and nothing more: what an answer has beside it is documented nowhere."""

from __future__ import annotations

from copy import deepcopy
from typing import Any


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema without further properties; the documented one allows them, as fields may be added."""
    closed = deepcopy(schema)
    for part in closed["$defs"].values():
        if "properties" in part:
            part["additionalProperties"] = False
    return closed
