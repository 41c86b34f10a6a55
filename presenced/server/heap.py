"""The C library's heap: how much of it is free, and how that is given back to the kernel."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from functools import cache
from typing import Any, cast

log = logging.getLogger("presenced")


def give_back() -> None:
    """Let the C library return to the kernel what is free in its heap. Without that, the memory of what was refused and
    ended stays resident, and counts. About a millisecond for each 100 MiB."""
    # The interpreter keeps thousands of freed tuples, lists and dicts for reuse. They lie scattered over its arenas,
    # and no arena can be given back then. Only a whole collection lets go of them. Frozen objects are not visited.
    gc.collect()
    trim = malloc_trim()
    if trim is not None:
        trim(0)


def free_bytes() -> int:
    """Bytes that are free in the C library's heap; 0 if it cannot tell."""
    info = mallinfo()
    return info().free if info is not None else 0


@cache
def mallinfo() -> Callable[[], Any] | None:
    """mallinfo2(3), if this C library has it."""
    try:
        import ctypes

        class Info(ctypes.Structure):
            """`fordblks` is the ninth of its ten fields."""

            _fields_ = [*((f"field{at}", ctypes.c_size_t) for at in range(8)), ("free", ctypes.c_size_t),
                        ("top", ctypes.c_size_t)]  # fmt: skip

        function = ctypes.CDLL(None).mallinfo2
        function.restype = Info
        return cast("Callable[[], Any]", function)
    except (ImportError, OSError, AttributeError, MemoryError):
        log.debug("memory: this C library cannot tell how much memory it holds")
        return None


@cache
def malloc_trim() -> Callable[[int], int] | None:
    """malloc_trim(3), if this C library has it."""
    try:
        import ctypes

        return ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError, MemoryError):
        # Another C library, or a process in which ctypes may make no callbacks: memory then comes back by itself, or
        # stays.
        log.debug("memory: this C library cannot be asked to give memory back")
        return None
