"""How Python and the C library keep memory that is free (decision 0024)."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Mapping
from functools import cache
from typing import Any

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_arena(environ: Mapping[str, str]) -> bool:
    """Have all threads that are begun from now on share one arena of memory; whether they do.

    By itself glibc gives them up to eight per core. What the environment says about it holds, and another C library
    is left alone.
    """
    is_set = environ.get("MALLOC_ARENA_MAX") or "glibc.malloc.arena_max" in environ.get("GLIBC_TUNABLES", "")
    if is_set or not has_arenas():
        return False
    return bool(_c_library().mallopt(_M_ARENA_MAX, 1))


def give_back() -> None:
    """Give to the system what lies free between what is in use; glibc by itself gives back the end of it only."""
    _empty_free_lists()
    if has_arenas():
        _c_library().malloc_trim(ctypes.c_size_t(0))


def _empty_free_lists() -> None:
    """Free what Python keeps of tuples and the like that are gone, for the next ones.

    Only a full collection does that, and a program that leaves little garbage hardly ever comes to one. With all
    objects frozen it has none to walk through, and takes as long with a million as with none.
    """
    gc.collect(1)  # or young garbage would come back old
    gc.freeze()
    gc.collect()
    gc.unfreeze()


def has_arenas() -> bool:
    """Whether the C library is glibc, whose ways these are."""
    return hasattr(_c_library(), "gnu_get_libc_version")


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)
