"""Validation of each key of a document by pydantic, with errors in the words of the key."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from exporter.config.problems import KeyPath, Problem
from exporter.config.resolve import Overlay
from exporter.config.schema import Defaults, Limits, Pool, Root, Rule, State, expected_of, fields_of, model_in
from exporter.config.yaml_document import Document

_REQUIRED = {"pools": "id", "discovery": "regions"}
"""Required key of the mappings in each list."""

_SCALAR_ERRORS = frozenset({"string_type", "int_type", "bool_type", "wrong_type"})
"""Error types for a wrong value in the place of a scalar.

A wrong value in the place of a mapping or a list is never shown: the file may be a key or a password file.
"""


@dataclass(frozen=True, slots=True)
class Validated:
    """The valid part of a configuration, for checks that involve several keys: everything if there are no problems."""

    pools: list[Overlay[Pool]]
    rules: list[Overlay[Rule]]
    limits: Limits
    state: State
    problems: tuple[Problem, ...] = ()
    invalid_keys: frozenset[KeyPath] = frozenset()

    @property
    def overlays(self) -> list[Overlay[Pool] | Overlay[Rule]]:
        """Pools and rules."""
        return [*self.pools, *self.rules]


def validate(document: Document) -> Validated:
    """Validate the configuration file, key by key."""
    values = document.values
    problems: list[Problem] = []
    if isinstance(values, dict) and values.get("pools") is None and values.get("discovery") is None:
        problems.append(Problem(("pools",), "missing, expected a list of at least one pool, or discovery"))
    try:
        Root.model_validate(values)
    except ValidationError as error:
        problems += problems_of(document, error, Root)
    invalid_keys = frozenset(reported_key(problem.path) for problem in problems)
    valid = _without(invalid_keys, values, ()) if isinstance(values, dict) else {}
    defaults = Defaults.model_validate(valid.get("defaults") or {})
    return Validated(
        pools=[
            Overlay("pools", index, Pool.model_validate(item), defaults) for index, item in _complete(valid, "pools")
        ],
        rules=[
            Overlay("discovery", index, Rule.model_validate(item), defaults)
            for index, item in _complete(valid, "discovery")
        ],
        limits=Limits.model_validate(valid.get("limits") or {}),
        state=State.model_validate(valid.get("state") or {}),
        problems=tuple(problems),
        invalid_keys=invalid_keys,
    )


def reported_key(path: KeyPath) -> KeyPath:
    """Return the path up to its last key: an invalid item invalidates its list, except in `pools` and `discovery`.

    A tag of a rule, which is not a key of the schema, invalidates `tags`.
    """
    if path[:1] == ("discovery",):
        path = path[:3]
    while len(path) > 2 and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _without(invalid_keys: frozenset[KeyPath], value: Any, path: KeyPath) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*path, key) not in invalid_keys}
        return {key: _without(invalid_keys, item, (*path, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(invalid_keys, item, (*path, index)) for index, item in enumerate(value)]
    return value


def _complete(values: dict[str, Any], section: str) -> list[tuple[int, Any]]:
    """Return the items of a list that have their required key, with their indexes."""
    items = enumerate(values.get(section) or ())
    return [(index, item) for index, item in items if isinstance(item, dict) and _REQUIRED[section] in item]


def problems_of(document: Document, error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Return the errors of pydantic for a document, whose model is `root`, in the words of their keys."""
    return [_problem(document, details, root) for details in error.errors(include_url=False, include_input=False)]


def _problem(document: Document, details: ErrorDetails, root: type[BaseModel]) -> Problem:
    path = details["loc"]
    place = document.places.get(path)
    match details["type"]:
        case "extra_forbidden":
            return Problem(path, f"unknown key, expected {_known_keys(path, root)}")
        case "missing":
            return Problem(path, f"missing, expected {_expected(path, root)}")
        case "check":
            problem, found = details["ctx"]["problem"], place and place.is_scalar and place.shown
        case "literal_error":
            problem, found = "unknown value", place and place.shown
        case error if error in _SCALAR_ERRORS:
            problem, found = "wrong type", place and place.shown
        case _:
            problem, found = "wrong type", place and place.kind
    text = f"{problem}, expected {_expected(path, root)}"
    return Problem(path, f"{text} (found {found})" if found else text)


def _expected(path: KeyPath, root: type[BaseModel]) -> str:
    """Return the expected values of the key at a path, or of the list that the path leads into."""
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
    """Return the keys that are allowed in the place of an unknown one."""
    parent = _field(path[:-1], root)
    model = model_in(parent.annotation) if parent else root
    known = list(fields_of(model)) if model else []
    has_defaults = model in {Pool, Rule}
    own = [name for name in known if not has_defaults or name not in fields_of(Defaults)]
    also = " or a key of defaults" if has_defaults else ""
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"one of {', '.join(own)}{also}{hint}"
