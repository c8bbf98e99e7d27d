"""Checks that involve several keys, or a file that a key names."""

from __future__ import annotations

import json
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from exporter.config.problems import KeyPath, Problem, shown_path
from exporter.config.resolve import Overlay
from exporter.config.schema import Defaults, Pool, Users
from exporter.config.settings import Detail, IdentityMode, Settings
from exporter.config.validation import Validated
from exporter.errors import ConfigError
from exporter.files import same_file
from exporter.identity import read_key
from exporter.shard import Shard

_STATE_PATH: KeyPath = ("state", "path")
_SELECTION_DEPTH = len(("pools", 0, "users"))


def crosscheck(valid: Validated, state_path: Path | None, file: Path) -> list[Problem]:
    """Return the problems of the configuration in `file`, each once.

    Keys that are already reported as invalid are ignored.
    """
    invalid = valid.invalid_keys
    problems = [*_duplicate_pools(valid.pools), *_state_path(state_path, file, valid)]
    keeps_key = state_path is not None or any(key[:1] == _STATE_PATH[:1] for key in invalid)
    invalid_selections = {key[:_SELECTION_DEPTH] for key in invalid}
    for pool in valid.pools:
        problems += _users(pool, invalid_selections)
    for overlay in valid.overlays:
        for keys, text in _conflicts(overlay.effective, keeps_key=keeps_key):
            if not any(overlay.path(key) in invalid or ("defaults", key) in invalid for key in keys):
                problems.append(Problem(overlay.blame_path(*keys), text))
        problems += _key_file(overlay, file.parent)
    return list(dict.fromkeys(problems))


def required_files(valid: Validated, state_path: Path | None, base: Path) -> set[Path]:
    """Return the files whose content, mode or existence can cause a problem."""
    files = _key_files(valid, base)
    if state_path is not None:
        # Not the state file: its content changes all the time, and causes no problem.
        files |= {state_path.parent} | ({state_path} if _is_directory(state_path) else set())
    return files


def require_shared_keys(settings: Settings, shard: Shard) -> None:
    """Check that all shards give a user the same label: the key next to the state file differs between shards.

    Raises `ConfigError` with an error for each pool and rule that needs `identity_key_file`.
    """
    if shard.count == 1:
        return
    problems = [
        f"{pool.id or 'discovery'}: --shard {shard} with identity hmac and detail {pool.detail} needs a key that all "
        "shards share, expected identity_key_file"
        for pool in settings.all_pool_settings
        if pool.identity is IdentityMode.HMAC and pool.identity_key_file is None and pool.detail is not Detail.POOL
    ]
    if problems:
        raise ConfigError(problems)


def require_separate_state_file(settings: Settings, file: Path, web_files: Iterable[Path]) -> None:
    """Check that the state file of the configuration in `file` is not a file of the web configuration.

    An invalid state file is moved aside. Raises `ConfigError`.
    """
    state = settings.state_path
    if state is not None and any(same_file(state, other) for other in web_files):
        raise ConfigError([f"{file}: state.path: a file of the web configuration, expected a separate file"])


def _duplicate_pools(pools: list[Overlay[Pool]]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for pool in pools:
        earlier = first.setdefault(pool.explicit.id, pool.index)
        if earlier != pool.index:
            yield Problem(pool.path("id"), f"duplicate pool id, first defined in pools[{earlier}]")


def _users(pool: Overlay[Pool], invalid_selections: Collection[KeyPath]) -> Iterator[Problem]:
    users = pool.explicit.users
    path = pool.path("users")
    if users is None or path in invalid_selections:
        return
    used = [name for name in Users.model_fields if getattr(users, name) is not None]
    if len(used) != 1:
        problem = "several selections" if used else "no selection"
        found = " and ".join(used) or "none"
        yield Problem(path, f"{problem}, expected exactly one of usernames, groups and filter (found {found})")


def _conflicts(options: Defaults, *, keeps_key: bool) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the keys and the problem of each combination of keys that is not allowed."""
    if options.external_id is not None and options.role_arn is None:
        yield ("external_id", "role_arn"), "external id without a role, expected role_arn"
    for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
        if options.endpoint_url is not None and getattr(options, name):
            yield ("endpoint_url", name), f"endpoint_url and {name} conflict, expected only one of them"
    has_key = options.identity_key_file is not None or keeps_key
    if options.identity == "hmac" and options.detail != "pool" and not has_key:
        yield (
            ("identity_key_file", "detail", "identity"),
            f"identity hmac with detail {options.detail} requires a key, expected identity_key_file or state.path",
        )


def _key_file(overlay: Overlay[Defaults], base: Path) -> Iterator[Problem]:
    name = overlay.effective.identity_key_file
    if name is None:
        return
    path = overlay.blame_path("identity_key_file")
    try:
        read_key(base / name)
    except OSError as error:
        yield Problem(path, f"cannot use key file: expected a readable file (found: {error.strerror})")
    except ValueError as error:
        yield Problem(path, f"cannot use key file: {error}")


def _state_path(path: Path | None, file: Path, valid: Validated) -> Iterator[Problem]:
    """Yield problems of an obviously wrong path: the exporter also runs with a state file that cannot be opened.

    The state must not replace another file: a file that is not a state file is moved aside, and a key that was replaced
    would be public.
    """
    if path is None:
        return
    if _is_directory(path):
        yield Problem(_STATE_PATH, "a directory, expected the path of a file")
    elif _is_directory(path.parent) is False:
        found = json.dumps(shown_path(path.parent))
        yield Problem(_STATE_PATH, f"directory not found, expected an existing directory (found none at {found})")
    if same_file(path, file):
        yield Problem(_STATE_PATH, "the configuration file itself, expected a separate file")
    if any(same_file(path, key) for key in _key_files(valid, file.parent)):
        yield Problem(_STATE_PATH, "an identity key, expected a separate file")


def _key_files(valid: Validated, base: Path) -> set[Path]:
    names = {overlay.effective.identity_key_file for overlay in valid.overlays}
    return {base / name for name in names if name is not None}


def _is_directory(path: Path) -> bool | None:
    """Return None if the system does not allow to find out."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
