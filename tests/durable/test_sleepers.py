"""Users who sleep in a real daemon: they are in its snapshots as they sleep, and come back over every kind of end."""

from __future__ import annotations

from pathlib import Path

import pytest

import presenced.sync
from presenced.core.records import Fact, UsersAsleep
from presenced.storage.dump import dump
from presenced.storage.files import OsDirectory
from presenced.storage.recovery import recover
from tests.durable.node import Node
from tests.support.until import until

USERS = [f"u{number}" for number in range(40)]
LIMITS = {"SLEEP_AFTER_MS": 50, "SNAPSHOT_EVERY_MS": 20}


def asleep_on_disk(node: Node) -> set[str]:
    names: set[str] = set()

    def apply(facts: list[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, UsersAsleep):
                names.update(name for name in fact.names.decode("latin-1").split("\xff") if name)

    recover(OsDirectory(node.data, create=False), apply)  # type: ignore[arg-type]
    return names


def service(node: Node) -> presenced.sync.BlockingService:
    return presenced.sync.connect_service(f"presence://jobs@127.0.0.1:{node.port}")


@pytest.mark.parametrize("ends", ["kill", "stop"])
def test_they_sleep_on_over_the_end_of_the_daemon(ends: str, tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0", "--grace", "1s", "--check", limits=LIMITS) as node:
        node.start()
        with service(node) as p:
            for user in USERS:
                p.attach(user, "desk")
                p.set_text(user, f"of {user}")
                p.detach(user, "desk")
            before = p.get_statuses(USERS)
            number = 0

            def all_sleep() -> bool:
                # Something changes, so that there is something for another snapshot.
                nonlocal number
                number += 1
                p.set_text("busy", f"{number}")
                return asleep_on_disk(node) >= set(USERS)

            until(all_sleep, "a snapshot has all of them asleep")
            node.kill() if ends == "kill" else node.stop()
        assert asleep_on_disk(node) >= set(USERS)
        told = {line.fields["text"] for line in dump(OsDirectory(node.data, create=False)) if line.fact == "TextSet"}
        assert told >= {f"of {user}" for user in USERS}, "the tools read what is known of who sleeps"
        node.start()
        with service(node) as p:
            for user, record in p.get_statuses(USERS).items():
                was = before[user]
                assert (record.status, record.text) == ("offline", f"of {user}")
                assert (record.since_ms, record.last_seen_ms) == (was.since_ms, was.last_seen_ms)
                assert record.version >= was.version
            p.attach("u7", "phone")
            assert p.get_status("u7").status == "online"
            assert {device.device for device in p.get_devices("u7")} == {"desk", "phone"}
