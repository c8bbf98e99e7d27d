"""How the C library keeps memory that is free (decision 0024)."""

from __future__ import annotations

import ctypes
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


def trim_heap() -> None:
    """Return free heap pages to the OS (malloc_trim); glibc by itself trims only the top of the heap."""
    if has_arenas():
        _c_library().malloc_trim(ctypes.c_size_t(0))


def has_arenas() -> bool:
    """Whether the C library is glibc, whose ways these are."""
    return hasattr(_c_library(), "gnu_get_libc_version")


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)
