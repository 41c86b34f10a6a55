"""The client for scripts, without an event loop: `with presenced.sync.connect_service(url) as p:`."""

from __future__ import annotations

from presenced.client.blocking import Blocking, BlockingIterator, connect, connect_service

__all__ = ["Blocking", "BlockingIterator", "connect", "connect_service"]
