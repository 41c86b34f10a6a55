"""A server in this process with its HTTP address open, for tests of what comes in there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.in_process import InProcess


@contextmanager
def serving(**settings: Any) -> Iterator[tuple[InProcess, int]]:
    """A server, and the port of its HTTP listener. Nothing may have reached the loop's own handler."""
    with InProcess(**({"http": "127.0.0.1:0", "change_spacing_ms": 0} | settings)) as server:
        assert server.operations.http is not None
        yield server, server.operations.http.port
    assert not server.loop_errors, server.loop_errors[0]
