"""The client for scripts, without an event loop: `with presenced.sync.connect_service(url) as p:`.

Type checkers read `sync.pyi` beside it, which `tests/client/sync_stub.py` writes.
"""

from __future__ import annotations

from presenced.client.blocking_client import (
    Blocking,
    BlockingClient,
    BlockingIterator,
    BlockingPage,
    BlockingService,
    blocking,
)
from presenced.client.client_factory import connect as connect_client, connect_service as connect_a_service

__all__ = ["Blocking", "BlockingClient", "BlockingIterator", "BlockingPage", "BlockingService"]
__all__ += ["connect", "connect_service"]

connect = blocking(connect_client, BlockingClient)
connect_service = blocking(connect_a_service, BlockingService)
