"""YAML text → plain values, and where in the file each of them stands."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import yaml

from exporter.config.problems import KeyPath, Problem, looks_secret

MAX_DEPTH = 16
"""Nested deeper than any configuration; a parser without a bound would run out of stack."""

_MAX_SHOWN = 60
_TAG = "tag:yaml.org,2002:"
_NUMBER = "the number "
_SCALARS = {_TAG + "str": "", _TAG + "int": _NUMBER, _TAG + "float": _NUMBER, _TAG + "bool": "the boolean "}

SECRET_KEYS = frozenset({"external_id", "endpoint_url", "role_arn", "users", "usernames", "filter"})
"""Keys whose values may hold a secret, an ARN or a user's name: these and all below them are never shown."""


class YamlFault(Exception):
    """The text is no usable YAML document; stands at a line and, where known, a column (both from 1)."""

    def __init__(self, text: str, line: int, column: int | None = None) -> None:
        super().__init__(text)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands, and how it is shown in a fault."""

    line: int
    found: str
    """With the value of a scalar, unless that may be a secret."""
    kind: str
    """Without any value."""
    scalar: bool


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a YAML document, the place of each, and the keys that stand twice."""

    values: object
    places: dict[KeyPath, Place] = field(repr=False)
    faults: tuple[Problem, ...]

    def place(self, path: KeyPath) -> Place | None:
        """The place of a value; None when the document does not have it."""
        return self.places.get(path)

    def line(self, path: KeyPath) -> int:
        """The line of a key, or of the nearest thing around it that is written."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path].line


class _Loader(yaml.SafeLoader):
    """Plain values only: no aliases (which can blow up), no tags, and dates are text as in YAML 1.2."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # as the stubs have it
        if event.anchor is not None:  # every event that begins a node has one, or None
            raise _fault_at("anchors and aliases are not supported, expected plain values", event.start_mark)
        if self._depth > MAX_DEPTH:
            raise _fault_at(f"nested too deeply, expected at most {MAX_DEPTH} levels", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _SCALARS or tag == _TAG + "null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(
    text: str, *, secret_keys: frozenset[str] = SECRET_KEYS, expected: str = "a mapping with the key pools"
) -> Document:
    """Read one YAML document; values of `secret_keys` are never shown, and `expected` is what should be there.

    Raises `YamlFault` when it is none; keys that stand twice are faults of the document.
    """
    loader = _loader(text)
    node = _composed(loader)
    if node is None:
        raise YamlFault(f"empty, expected {expected}", 1)
    reader = _Reader(loader, secret_keys)
    return Document(reader.value(node, ()), reader.places, tuple(reader.faults))


def _loader(text: str) -> _Loader:
    try:
        return _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise YamlFault("a control character, expected printable text", line) from None


def _composed(loader: _Loader) -> yaml.Node | None:
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        if error.problem and "tag handle" in error.problem:  # and behind it the handle: a word of the file
            raise _fault_at("a tag, expected plain values", error.problem_mark) from None  # type: ignore[arg-type]  # as below
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _fault_at(f"not YAML: {problem}", error.problem_mark) from None  # type: ignore[arg-type]  # none lacks it
    except (ValueError, OverflowError):
        # Such as "\UFFFFFFFF" or %YAML with thousands of digits: PyYAML reads them and then cannot convert them.
        raise _fault_at("not YAML: a number that is too large", loader.get_mark()) from None


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, loader: _Loader, secret_keys: frozenset[str]) -> None:
        self._loader = loader
        self._secret_keys = secret_keys
        self.places: dict[KeyPath, Place] = {}
        self.faults: list[Problem] = []

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            self._put(node, path, "a mapping", "a mapping")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            self._put(node, path, "a list", "a list")
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise _fault_at("a tag, expected plain values", node.start_mark)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            line = key_node.start_mark.line + 1
            if key in values:
                self.faults.append(
                    Problem((*path, key), f"twice, expected once (found first in line {lines[key]})", line)
                )
                continue
            lines[key] = line
            values[key] = self.value(value_node, (*path, key))
            place = self.places[(*path, key)]
            self.places[(*path, key)] = replace(place, line=line)
        return values

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TAG + "str":
            raise _fault_at("a key that is not text, expected the name of a key", node.start_mark)
        _check_characters(node)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Hashable:
        if node.tag == _TAG + "null":
            self._put(node, path, "nothing", "nothing")
            return None
        if node.tag not in _SCALARS:
            raise _fault_at("a tag, expected plain values", node.start_mark)
        if _SCALARS[node.tag] == _NUMBER and ":" in node.value:
            # YAML 1.1 takes 1:30 for 90, and needs minutes for a number that is long enough.
            raise _fault_at("a number to base 60, expected a plain number, or text in quotes", node.start_mark)
        _check_characters(node)
        kind = f"{_SCALARS[node.tag] or 'text '}that is not shown here"
        self._put(node, path, kind if self._is_secret(node, path) else _shown(node), kind)
        try:
            value: Hashable = self._loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            # Such as `0x_` or `!!bool maybe`: PyYAML resolves what it then cannot convert.
            raise _fault_at(
                "a value that its YAML type does not allow, expected it in quotes", node.start_mark
            ) from None
        return value

    def _is_secret(self, node: yaml.ScalarNode, path: KeyPath) -> bool:
        """Whether a fault must not show a scalar: it stands below a secret key, or looks as if it belonged there.

        Text over several lines is never shown, nor is text with the name of a secret key in it: an indent too
        far or a forgotten colon makes such text of a key and its secret.
        """
        swallowed = node.start_mark.line != node.end_mark.line or any(name in node.value for name in self._secret_keys)
        return swallowed or not self._secret_keys.isdisjoint(path) or looks_secret(node.value)

    def _put(self, node: yaml.Node, path: KeyPath, found: str, kind: str) -> None:
        self.places[path] = Place(node.start_mark.line + 1, found, kind, isinstance(node, yaml.ScalarNode))


def _check_characters(node: yaml.ScalarNode) -> None:
    r"""Refuse what only an escape such as \uD83D can bring into a text: no request, label or file can carry it."""
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        raise _fault_at("half of a surrogate pair, expected the character itself", node.start_mark)


def _shown(node: yaml.ScalarNode) -> str:
    """A scalar as a fault shows it."""
    kind = _SCALARS[node.tag]
    text = node.value if len(node.value) <= _MAX_SHOWN else node.value[:_MAX_SHOWN] + "…"
    return kind + (text if kind and text.isascii() else json.dumps(text))


def _fault_at(text: str, mark: yaml.Mark) -> YamlFault:
    return YamlFault(text, mark.line + 1, mark.column + 1)
