"""Plain values → the wire models, with every fault of type and value, each in the words of its key."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from exporter.config.document import Document
from exporter.config.faults import Fault, KeyPath
from exporter.config.wire import Pool, Root, expected_of, fields_of, model_in


@dataclass(frozen=True, slots=True)
class Checked:
    """What could be read of the configuration, for the checks that look at several keys at once.

    `root` lacks every key that is at fault; it is None when no pool is left. `indexes` tells where each
    of its pools stands in the file.
    """

    root: Root | None
    indexes: tuple[int, ...]
    faults: tuple[Fault, ...]


def check_document(document: Document) -> Checked:
    """Validate the whole document."""
    try:
        root = Root.model_validate(document.values)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        faults = tuple(_fault(document, details) for details in errors)
        return _without_faulty(document, [details["loc"] for details in errors], faults)
    return Checked(root, tuple(range(len(root.pools))), ())


def _without_faulty(document: Document, paths: list[KeyPath], faults: tuple[Fault, ...]) -> Checked:
    """What is left when every key at fault is taken out."""
    values = document.values
    if not isinstance(values, dict) or not isinstance(values.get("pools"), list):
        return Checked(None, (), faults)
    bad_keys = {key_of(path) for path in paths}
    kept = [
        index
        for index, pool in enumerate(values["pools"])
        if isinstance(pool, dict) and "id" in pool and ("pools", index, "id") not in bad_keys
    ]
    if not kept:
        return Checked(None, (), faults)
    pruned = _pruned(values, (), bad_keys)
    pools = _pruned(values["pools"], ("pools",), bad_keys)
    root = Root.model_validate({**pruned, "pools": [pools[index] for index in kept]})
    return Checked(root, tuple(kept), faults)


def key_of(path: KeyPath) -> KeyPath:
    """The path up to its last key: a list with a bad item is bad as a whole, but for the list of pools."""
    while len(path) > 2 and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _pruned(value: Any, path: KeyPath, bad: set[KeyPath]) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item, (*path, key), bad) for key, item in value.items() if (*path, key) not in bad}
    if isinstance(value, list):
        return [_pruned(item, (*path, index), bad) for index, item in enumerate(value)]
    return value


def _fault(document: Document, details: ErrorDetails) -> Fault:
    path = details["loc"]
    match details["type"]:
        case "extra_forbidden":
            return Fault(path, f"unknown key, expected {_known_keys(path)}")
        case "missing":
            return Fault(path, f"missing, expected {_expected(path)}")
        case "check":
            problem, show = details["ctx"]["problem"], _is_scalar(document, path)
        case "literal_error":
            problem, show = "unknown value", True
        case _:
            problem, show = "wrong type", True
    return Fault(path, with_found(f"{problem}, expected {_expected(path)}", document, path, show=show))


def with_found(text: str, document: Document, path: KeyPath, *, show: bool = True) -> str:
    """The text of a fault and the value found, where there is one to show."""
    place = document.place(path)
    return f"{text} (found {place.found})" if show and place else text


def _is_scalar(document: Document, path: KeyPath) -> bool:
    place = document.place(path)
    return place is not None and place.scalar


def _expected(path: KeyPath) -> str:
    """In words, what the key at a path expects; for an item of a list, what the list expects."""
    if not path:
        return "a mapping with the key pools"
    if len(path) == 2 and path[0] == "pools":
        return "a mapping with the key id"
    info = _field(path)
    return expected_of(info) if info else "another value"


def _field(path: KeyPath) -> FieldInfo | None:
    found = None
    model: type[BaseModel] | None = Root
    for part in path:
        if isinstance(part, str) and model is not None:
            found = fields_of(model)[part]
            model = model_in(found.annotation)
    return found


def _known_keys(path: KeyPath) -> str:
    """The keys that may stand where an unknown one was found, or the one that was probably meant."""
    parent = _field(path[:-1])
    model = model_in(parent.annotation) if parent else Root
    known = list(fields_of(model)) if model else []
    own = [name for name in known if model is not Pool or name in {"id", "users"}]
    also = " or a key of defaults" if model is Pool else ""
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"; perhaps {close[0]} was meant" if close else ""
    return f"one of {', '.join(own)}{also}{hint}"
