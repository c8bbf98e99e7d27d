"""Plain values → the wire models, with every fault of type and value, each in the words of its key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from exporter.config.problems import KeyPath, Problem
from exporter.config.schema import Defaults, Pool, Root, Rule, expected_of, fields_of, model_in
from exporter.config.yaml_document import Document


@dataclass(frozen=True, slots=True)
class Checked:
    """What could be read of the configuration, for the checks that look at several keys at once.

    `root` lacks every key that is at fault; it is None when no pool and no rule is left. `pools` and `rules` tell where
    each of those of `root` stands in the file.
    """

    root: Root | None
    pools: tuple[int, ...]
    rules: tuple[int, ...]
    faults: tuple[Problem, ...]


_REQUIRED = {"pools": "id", "discovery": "regions"}
"""The lists of the file that hold mappings, each with the key that these cannot do without."""

_EXPECT_SCALAR = frozenset({"string_type", "int_type", "bool_type", "wrong_type"})
"""Errors of pydantic's and ours for a value of another type than the scalar that was expected.

What stands in the place of a mapping or a list is never shown: it may be a file of another kind, such as a key, or a
line of a password file.
"""


def check_document(document: Document) -> Checked:
    """Validate the whole document."""
    try:
        root = Root.model_validate(document.values)
    except ValidationError as error:
        faults = (*_nothing_to_read(document), *faults_of(document, error, Root))
        return _without_faulty(document, [fault.path for fault in faults], faults)
    faults = tuple(_nothing_to_read(document))
    if faults:
        return Checked(None, (), (), faults)
    pools, rules = (tuple(range(len(found or ()))) for found in (root.pools, root.discovery))
    return Checked(root, pools, rules, ())


def _nothing_to_read(document: Document) -> Iterator[Problem]:
    values = document.values
    if isinstance(values, dict) and values.get("pools") is None and values.get("discovery") is None:
        yield Problem(("pools",), "missing, expected a list of at least one pool, or discovery in its place")


def _without_faulty(document: Document, paths: list[KeyPath], faults: tuple[Problem, ...]) -> Checked:
    """What is left when every key at fault is taken out."""
    values = document.values
    if not isinstance(values, dict):
        return Checked(None, (), (), faults)
    bad_keys = {reported_key(path) for path in paths}
    kept = {section: _usable(values, section, bad_keys) for section in _REQUIRED}
    if not any(kept.values()):
        return Checked(None, (), (), faults)
    pruned = _pruned(values, (), bad_keys)
    for section, indexes in kept.items():
        items = _pruned(values.get(section), (section,), bad_keys)
        pruned[section] = [items[index] for index in indexes] or None
    return Checked(Root.model_validate(pruned), tuple(kept["pools"]), tuple(kept["discovery"]), faults)


def _usable(values: dict[str, Any], section: str, bad_keys: set[KeyPath]) -> list[int]:
    """Where the mappings of a list stand that have what they need."""
    items, required = values.get(section), _REQUIRED[section]
    if not isinstance(items, list):
        return []
    return [
        index
        for index, item in enumerate(items)
        if isinstance(item, dict) and required in item and (section, index, required) not in bad_keys
    ]


def reported_key(path: KeyPath) -> KeyPath:
    """The path up to its last key: a list with a bad item is bad as a whole, but for those of pools and rules.

    So are tags, which are no keys of ours.
    """
    if path[:1] == ("discovery",):
        path = path[:3]
    while len(path) > 2 and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _pruned(value: Any, path: KeyPath, bad: set[KeyPath]) -> Any:
    if isinstance(value, dict):
        return {key: _pruned(item, (*path, key), bad) for key, item in value.items() if (*path, key) not in bad}
    if isinstance(value, list):
        return [_pruned(item, (*path, index), bad) for index, item in enumerate(value)]
    return value


def faults_of(document: Document, error: ValidationError, root: type[BaseModel]) -> tuple[Problem, ...]:
    """What pydantic found in a document of which `root` is the whole, each in the words of its key."""
    errors = error.errors(include_url=False, include_input=False)
    return tuple(_fault(document, details, root) for details in errors)


def _fault(document: Document, details: ErrorDetails, root: type[BaseModel]) -> Problem:
    path = details["loc"]
    found, kind, scalar = _found(document, path)
    match details["type"]:
        case "extra_forbidden":
            return Problem(path, f"unknown key, expected {_known_keys(path, root)}")
        case "missing":
            return Problem(path, f"missing, expected {_expected(path, root)}")
        case "check":
            problem, shown = details["ctx"]["problem"], found if scalar else ""
        case "literal_error":
            problem, shown = "unknown value", found
        case error if error in _EXPECT_SCALAR:
            problem, shown = "wrong type", found
        case _:
            problem, shown = "wrong type", kind
    text = f"{problem}, expected {_expected(path, root)}"
    return Problem(path, f"{text} (found {shown})" if shown else text)


def _found(document: Document, path: KeyPath) -> tuple[str, str, bool]:
    """What stands at a path, with and without its value, and whether it is a scalar; blank where nothing does."""
    place = document.place(path)
    return (place.found, place.kind, place.scalar) if place else ("", "", False)


def _expected(path: KeyPath, root: type[BaseModel]) -> str:
    """In words, what the key at a path expects; for an item of a list, what the list expects."""
    if not path:
        return "a mapping with the key pools" if root is Root else "a mapping"
    if len(path) == 2 and path[0] in _REQUIRED:
        return f"a mapping with the key {_REQUIRED[str(path[0])]}"
    info = _field(path, root)
    return expected_of(info) if info else "another value"


def _field(path: KeyPath, root: type[BaseModel]) -> FieldInfo | None:
    found = None
    model: type[BaseModel] | None = root
    for part in path:
        if isinstance(part, str) and model is not None:
            found = fields_of(model)[part]
            model = model_in(found.annotation)
    return found


def _known_keys(path: KeyPath, root: type[BaseModel]) -> str:
    """The keys that may stand where an unknown one was found, or the one that was probably meant."""
    parent = _field(path[:-1], root)
    model = model_in(parent.annotation) if parent else root
    known = list(fields_of(model)) if model else []
    layered = model in {Pool, Rule}
    own = [name for name in known if not layered or name not in fields_of(Defaults)]
    also = " or a key of defaults" if layered else ""
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"; perhaps {close[0]} was meant" if close else ""
    return f"one of {', '.join(own)}{also}{hint}"
