"""Settings of the memory allocator of glibc (decision 0024)."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from typing import Any

_M_ARENA_MAX = -8  # <malloc.h>


def share_one_arena(environ: Mapping[str, str]) -> bool:
    """Make all threads that start later share one memory arena, and return whether they do.

    By default, glibc creates up to eight per core. A setting in the environment takes precedence, and other C libraries
    are left alone.
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
    """Return whether the C library is glibc."""
    return hasattr(_c_library(), "gnu_get_libc_version")


@cache
def _c_library() -> Any:
    return ctypes.CDLL(None)
