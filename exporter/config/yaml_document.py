"""YAML document with the line of each value."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

import yaml

from exporter.config.problems import KeyPath, Problem, looks_secret
from exporter.errors import ConfigError

MAX_DEPTH = 16
"""Maximum nesting, more than any configuration has; a parser without a limit would overflow the stack."""

MAX_REPORTED = 1000
"""Maximum number of problems that are reported; the others are only counted."""

_MAX_SHOWN = 60
_TAG = "tag:yaml.org,2002:"
_NUMBER = "the number "
_SCALARS = {_TAG + "str": "", _TAG + "int": _NUMBER, _TAG + "float": _NUMBER, _TAG + "bool": "the boolean "}

SECRET_KEYS = frozenset({"external_id", "endpoint_url", "role_arn", "users", "usernames", "filter"})
"""Keys whose values may hold a secret, an ARN or a user name: these values and all below them are never shown."""


@dataclass(frozen=True, slots=True)
class Place:
    """Line of a value, and how errors show it."""

    line: int
    shown: str
    """With the value of a scalar, unless it may be a secret."""
    kind: str
    """Without the value."""
    is_scalar: bool


@dataclass(frozen=True, slots=True)
class Document:
    """Values of a YAML document, their places, and its duplicate keys as problems."""

    file: str
    values: object
    places: dict[KeyPath, Place] = field(repr=False)
    problems: tuple[Problem, ...]

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or of its nearest parent in the document."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path].line

    def report(self, problems: Iterable[Problem]) -> list[str]:
        """Return the problems as text in the order of their lines."""
        lines = sorted(((problem.line or self.line(problem.path), problem) for problem in problems), key=lambda p: p[0])
        reported = [f"{self.file}:{line}: {problem}" for line, problem in lines[:MAX_REPORTED]]
        more = len(lines) - len(reported)
        return [*reported, f"{self.file}: {more} more errors"] if more else reported


class _InvalidYamlError(Exception):
    """The text is not a usable YAML document; line and column are counted from 1."""

    def __init__(self, text: str, line: int, column: int | None = None) -> None:
        super().__init__(text)
        self.place = str(line) if column is None else f"{line}:{column}"


class _Loader(yaml.SafeLoader):
    """Loader of plain values: no aliases, which expand exponentially, no tags, and dates are text as in YAML 1.2."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # as the stubs have it
        if event.anchor is not None:  # every event that starts a node has the attribute
            raise _error_at("anchors and aliases are not supported, expected plain values", event.start_mark)
        if self._depth > MAX_DEPTH:
            raise _error_at(f"nested too deeply, expected at most {MAX_DEPTH} levels", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _SCALARS or tag == _TAG + "null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(
    text: str, file: str, *, secret_keys: frozenset[str] = SECRET_KEYS, expected: str = "a mapping with the key pools"
) -> Document:
    """Read the YAML document of a file; values of `secret_keys` are never shown.

    Raises `ConfigError` if the text is not YAML, not plain values, or empty.
    """
    try:
        loader = _loader(text)
        node = _compose(loader)
        reader = _Reader(loader, secret_keys)
        values = None if node is None else reader.value(node, ())
    except _InvalidYamlError as error:
        raise ConfigError([f"{file}:{error.place}: {error}"]) from None
    if node is None:
        raise ConfigError([f"{file}:1: empty, expected {expected}"])
    return Document(file, values, reader.places, tuple(reader.problems))


def _loader(text: str) -> _Loader:
    try:
        return _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise _InvalidYamlError("a control character, expected printable text", line) from None


def _compose(loader: _Loader) -> yaml.Node | None:
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        if error.problem and "tag handle" in error.problem:  # followed by the handle, which is text of the file
            raise _error_at("a tag, expected plain values", error.problem_mark) from None  # type: ignore[arg-type]  # as below
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise _error_at(f"not YAML: {problem}", error.problem_mark) from None  # type: ignore[arg-type]  # always set
    except (ValueError, OverflowError):
        # PyYAML cannot convert "\UFFFFFFFF", or %YAML with thousands of digits.
        raise _error_at("not YAML: a number that is too large", loader.get_mark()) from None


class _Reader:
    """Converts the nodes of one document to values."""

    def __init__(self, loader: _Loader, secret_keys: frozenset[str]) -> None:
        self._loader = loader
        self._secret_keys = secret_keys
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            self._add(node, path, "a mapping", "a mapping")
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            self._add(node, path, "a list", "a list")
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        raise _error_at("a tag, expected plain values", node.start_mark)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            line = key_node.start_mark.line + 1
            if key in values:
                self.problems.append(Problem((*path, key), f"duplicate key, first defined in line {lines[key]}", line))
                continue
            lines[key] = line
            values[key] = self.value(value_node, (*path, key))
            place = self.places[(*path, key)]
            self.places[(*path, key)] = replace(place, line=line)
        return values

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != _TAG + "str":
            raise _error_at("a key that is not text, expected the name of a key", node.start_mark)
        _check_characters(node)
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Hashable:
        if node.tag == _TAG + "null":
            self._add(node, path, "nothing", "nothing")
            return None
        if node.tag not in _SCALARS:
            raise _error_at("a tag, expected plain values", node.start_mark)
        if _SCALARS[node.tag] == _NUMBER and ":" in node.value:
            # In YAML 1.1, 1:30 is 90, and a long number takes minutes to parse.
            raise _error_at("a base-60 number, expected a plain number or quoted text", node.start_mark)
        _check_characters(node)
        kind = f"{_SCALARS[node.tag] or 'text '}that is not shown here"
        self._add(node, path, kind if self._is_secret(node, path) else _shown(node), kind)
        try:
            value: Hashable = self._loader.construct_object(node)
        except (ValueError, KeyError, OverflowError):
            # PyYAML recognizes `0x_` and `!!bool maybe`, but cannot convert them.
            raise _error_at("invalid value for its YAML type, expected quoted text", node.start_mark) from None
        return value

    def _is_secret(self, node: yaml.ScalarNode, path: KeyPath) -> bool:
        """Return whether errors must not show a scalar: it is below a secret key or looks like a secret.

        Text of several lines, or with the name of a secret key in it, is never shown either: with a wrong indent or a
        missing colon, a key and its secret become such text.
        """
        swallowed = node.start_mark.line != node.end_mark.line or any(name in node.value for name in self._secret_keys)
        return swallowed or not self._secret_keys.isdisjoint(path) or looks_secret(node.value)

    def _add(self, node: yaml.Node, path: KeyPath, found: str, kind: str) -> None:
        self.places[path] = Place(node.start_mark.line + 1, found, kind, isinstance(node, yaml.ScalarNode))


def _check_characters(node: yaml.ScalarNode) -> None:
    r"""Reject lone surrogates, written as an escape such as \uD83D: UTF-8 cannot encode them."""
    if any("\ud800" <= character <= "\udfff" for character in node.value):
        raise _error_at("half of a surrogate pair, expected the character itself", node.start_mark)


def _shown(node: yaml.ScalarNode) -> str:
    """Return a scalar as errors show it."""
    kind = _SCALARS[node.tag]
    text = node.value if len(node.value) <= _MAX_SHOWN else node.value[:_MAX_SHOWN] + "…"
    return kind + (text if kind and text.isascii() else json.dumps(text))


def _error_at(text: str, mark: yaml.Mark) -> _InvalidYamlError:
    return _InvalidYamlError(text, mark.line + 1, mark.column + 1)
