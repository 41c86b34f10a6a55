"""The Python client: pure state (`changes`, `session`, `pulse`, `backoff`, `until`) under an asyncio shell
(`link`, `keeper`, `client`, `watch`). Knows the wire and nothing of the server.
"""

from __future__ import annotations

from presenced.client.changes import Change
from presenced.client.client import Client
from presenced.client.connect import connect
from presenced.client.values import WhoPage
from presenced.client.watch import Watch
from presenced.wire.messages import Record

__all__ = ["Change", "Client", "Record", "Watch", "WhoPage", "connect"]
