"""A client that watches everybody by its position, over the end of the daemon: its view is the daemon's after each."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import presenced.sync
from presenced.client.protocol import backoff
from presenced.digests import digest
from presenced.wire.messages import Record
from tests.durable.node import Node
from tests.support.tiers import samples
from tests.support.until import until

USERS = [f"u{number}" for number in range(12)]


def test_the_view_of_everybody_is_right_after_each_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A link that was lost soon makes the next pause longer: after a dozen rounds that would be most of the time.
    monkeypatch.setattr(backoff, "CAP_MS", 200)
    dice = random.Random(5)
    with Node(tmp_path, "--rate", "0", "--heartbeat", "100ms", "--grace", "60s", "--check") as node:
        node.start()
        url = f"presence://root@127.0.0.1:{node.port}"
        with presenced.sync.connect_service(url, request_timeout_s=60) as p, p.watch_all() as watch:
            for _ in range(max(6, samples(40))):
                app_url = f"presence://app@127.0.0.1:{node.port}"
                with presenced.sync.connect_service(app_url, reconnect=False) as app:
                    for user in dice.sample(USERS, 4):
                        app.attach(user, "tab")
                        app.set_status(user, dice.choice(("dnd", "away", "auto")))
                        if dice.random() < 0.3:
                            app.detach(user, "tab")
                    if dice.random() < 0.5:
                        # Let a position be saved now and then, and others be lost.
                        p.ping()
                    if dice.random() < 0.8:
                        node.kill()
                if node.running:
                    node.stop()
                node.start()

                def differing() -> list[str]:
                    truth = {user: p.get_status(user) for user in USERS}
                    seen: dict[str, Record] = watch.records
                    unknown = Record("", "offline", "", "", 0, 0, "", 0)
                    return [
                        user
                        for user, record in truth.items()
                        if (user in seen or record.status != "offline")
                        and digest(seen.get(user, unknown)) != digest(record)
                    ]

                until(lambda: not differing(), "the view is the daemon's")
