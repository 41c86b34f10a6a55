"""Webhooks with a feed and a receiver, in this process and over real sockets."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from presenced.config.settings import Settings
from presenced.ops.threads import in_thread
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.webhooks.plan import Plan, read_plan
from presenced.webhooks.service import Webhooks
from tests.webhooks.feed import Feed
from tests.webhooks.receiver import SECRET_LINE


def plan(url: str, secrets: str = SECRET_LINE, **chosen: Any) -> Plan:
    """The plan of these settings, with pauses that a test can wait for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "secrets")
        path.write_text(secrets)
        fields = {
            "webhooks_retry_ms": 10,
            "webhooks_retry_max_ms": 50,
            "webhooks_timeout_ms": 5_000,
            "webhooks_allow_private": True,
            **{f"webhooks_{name}": value for name, value in chosen.items()},
        }
        found = read_plan(Settings(webhooks_url=url, webhooks_secret_file=str(path), **fields))
    assert found is not None
    return found


@asynccontextmanager
async def posting(feed: Feed, chosen: Plan, **parts: Any) -> AsyncIterator[Webhooks]:
    """Webhooks that follow the feed."""
    webhooks = Webhooks(
        chosen,
        feed.open,
        clocks=SYSTEM_CLOCKS,
        in_thread=in_thread,
        count_behind=lambda cursor: sum(one.seq > cursor.seq for one in feed.events),
        **parts,
    )
    webhooks.start()
    try:
        yield webhooks
    finally:
        await webhooks.close()
