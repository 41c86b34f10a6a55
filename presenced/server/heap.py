"""The C library's heap: how much of it is free, and how to give that back to the kernel."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

log = logging.getLogger("presenced")


@contextmanager
def everything_stays() -> Iterator[None]:
    """While users are taken up by the thousand: all that is made stays, so there is no garbage, and the search for it
    would double the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def give_back() -> None:
    """Let the C library return the free memory of its heap to the kernel. Otherwise the memory of refused requests and
    ended links stays resident and counts as used. Takes about a millisecond for each 100 MiB."""
    # The interpreter keeps thousands of freed tuples, lists and dicts for reuse. They are scattered over its arenas, so
    # no arena could be returned. Only a full collection frees them. It does not visit frozen objects.
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
        # This is another C library, or ctypes may not make callbacks in this process. Memory then stays until the C
        # library returns it by itself.
        log.debug("memory: this C library cannot be asked to give memory back")
        return None
