"""The checks that look at several keys at once, or at a file that a key names."""

from __future__ import annotations

import json
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from exporter.config.overlay import Overlay, PoolOverlay, RuleOverlay
from exporter.config.problems import KeyPath, Problem, shown_path
from exporter.config.schema import Users
from exporter.files import same_file
from exporter.identity import read_key

_STATE_PATH: KeyPath = ("state", "path")
_SELECTION_DEPTH = len(("pools", 0, "users"))


def crosscheck(
    pools: list[PoolOverlay],
    rules: list[RuleOverlay],
    state_path: Path | None,
    file: Path,
    bad: frozenset[KeyPath],
) -> list[Problem]:
    """Every fault of this kind in a configuration file, once each.

    Keys in `bad` were reported already, so nothing is concluded from them.
    """
    base = file.parent
    both: list[Overlay] = [*pools, *rules]
    found = [*_pools_twice(pools), *_state_usable(state_path), *_state_apart(state_path, file, both)]
    keeps_key = state_path is not None or any(key[:1] == _STATE_PATH[:1] for key in bad)
    bad_selections = {key[:_SELECTION_DEPTH] for key in bad}
    for pool in pools:
        found += _users(pool, bad_selections)
    for layered in both:
        found += _assumed_role(layered, bad)
        found += _endpoint(layered, bad)
        if not keeps_key:
            found += _key_needed(layered, bad)
        found += _key_usable(layered, base)
    return list(dict.fromkeys(found))


def files_checked(pools: list[PoolOverlay], rules: list[RuleOverlay], state_path: Path | None, base: Path) -> set[Path]:
    """The files whose content, mode or being there decides whether there is a fault."""
    both: list[Overlay] = [*pools, *rules]
    names = {layered.effective.identity_key_file for layered in both}
    files = {base / name for name in names if name is not None}
    if state_path is not None:
        # Of the state file, whose content is of no weight here and changes all the time, only what is in its way.
        files |= {state_path.parent} | ({state_path} if _is_directory(state_path) else set())
    return files


def _pools_twice(pools: list[PoolOverlay]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for layered in pools:
        earlier = first.setdefault(layered.own.id, layered.index)
        if earlier != layered.index:
            yield Problem(
                layered.path("id"), f"the pool stands twice, expected it once (found first as pools[{earlier}])"
            )


def _users(layered: PoolOverlay, bad_selections: Collection[KeyPath]) -> Iterator[Problem]:
    users = layered.own.users
    path = layered.path("users")
    if users is None or path in bad_selections:
        return
    used = [name for name in Users.model_fields if getattr(users, name) is not None]
    if len(used) != 1:
        problem = "several selections" if used else "no selection"
        found = " and ".join(used) or "none"
        yield Problem(path, f"{problem}, expected exactly one of usernames, groups and filter (found {found})")


def _assumed_role(layered: Overlay, bad: frozenset[KeyPath]) -> Iterator[Problem]:
    keys = ("external_id", "role_arn")
    options = layered.effective
    if options.external_id is not None and options.role_arn is None and not _any_bad(layered, keys, bad):
        yield Problem(layered.site(*keys), "an external id without a role, expected role_arn beside it")


def _endpoint(layered: Overlay, bad: frozenset[KeyPath]) -> Iterator[Problem]:
    options = layered.effective
    if options.endpoint_url is None:
        return
    for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
        keys = ("endpoint_url", name)
        if getattr(options, name) and not _any_bad(layered, keys, bad):
            yield Problem(
                layered.site(*keys),
                f"together with {name}, expected only one of them (AWS's own library would ignore it)",
            )


def _key_needed(layered: Overlay, bad: frozenset[KeyPath]) -> Iterator[Problem]:
    keys = ("identity_key_file", "detail", "identity")
    options = layered.effective
    keyless = options.identity == "hmac" and options.identity_key_file is None
    if keyless and options.detail != "pool" and not _any_bad(layered, keys, bad):
        yield Problem(
            layered.site(*keys),
            f"identity hmac with detail {options.detail} needs a key, expected identity_key_file or state.path",
        )


def _key_usable(layered: Overlay, base: Path) -> Iterator[Problem]:
    name = layered.effective.identity_key_file
    if name is None:
        return
    problem = _key_problem(base / name)
    if problem:
        yield Problem(layered.site("identity_key_file"), f"the key file cannot be used: {problem}")


def _key_problem(path: Path) -> str | None:
    try:
        read_key(path)
    except OSError as error:
        return f"expected a readable file (found: {error.strerror})"
    except ValueError as error:
        return str(error)
    return None


def _state_usable(path: Path | None) -> Iterator[Problem]:
    """Only what is a slip of the pen: a file that cannot be opened stops no exporter."""
    if path is None:
        return
    if _is_directory(path):
        yield Problem(_STATE_PATH, "a directory, expected the path of a file")
    elif _is_directory(path.parent) is False:
        found = json.dumps(shown_path(path.parent))
        yield Problem(_STATE_PATH, f"no directory for the file, expected an existing directory (found none at {found})")


def _state_apart(path: Path | None, file: Path, layered: list[Overlay]) -> Iterator[Problem]:
    """A file that is no state is set aside, and a state takes its place: that may be a key, then known to everybody."""
    if path is None:
        return
    if same_file(path, file):
        yield Problem(_STATE_PATH, "the configuration itself, expected a file of its own")
    names = {one.effective.identity_key_file for one in layered}
    if any(same_file(path, file.parent / name) for name in names if name is not None):
        yield Problem(_STATE_PATH, "an identity key, expected a file of its own")


def _is_directory(path: Path) -> bool | None:
    """None where the system does not tell."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None


def _any_bad(layered: Overlay, names: tuple[str, ...], bad: frozenset[KeyPath]) -> bool:
    return any(layered.path(name) in bad or ("defaults", name) in bad for name in names)
