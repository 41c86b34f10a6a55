"""What was taken away stays away: `kill -9` after the acknowledgement, and no byte of an erased user in any file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from presenced.errors import AuthError
from presenced.server.identity import mint
from presenced.sync import BlockingService, connect, connect_service
from tests.support.daemon import Daemon
from tests.support.until import until

SECRET = b"a secret that is long enough for the hash of it"
NAME = "alice-who-leaves"
OFTEN = {"SNAPSHOT_LOG_BYTES": 4_000}
TEXT = "words that nobody is to find"


class Machine:
    """A data directory with one daemon after the other."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.data = place / "data"
        (place / "secret").write_bytes(SECRET)

    @contextlib.contextmanager
    def daemon(
        self, patches: str = "", *, limits: Mapping[str, float] | None = None, killed: bool = True
    ) -> Iterator[Daemon]:
        options = ("--data-dir", str(self.data), "--secret-file", str(self.place / "secret"), "--check")
        daemon = Daemon(self.place / "log", *options, dev=False, patches=patches, limits=limits)
        try:
            yield daemon
            if not killed:
                daemon.stop()
        finally:
            daemon.kill()

    @contextlib.contextmanager
    def service(self, daemon: Daemon) -> Iterator[BlockingService]:
        url = f"presence://chat@{daemon.address}"
        with connect_service(url, token=mint(SECRET, "chat", "service", int(time.time()), 600)) as service:
            yield service

    def files_with(self, *words: str) -> list[str]:
        """The files in which one of these words is found."""
        files = [path for path in self.data.rglob("*") if path.is_file()]
        assert files
        return sorted(path.name for path in files if any(word.encode() in path.read_bytes() for word in words))


def token(made_s: float) -> str:
    return mint(SECRET, NAME, "user", int(made_s), 600)


def live(service: BlockingService) -> None:
    """Say all that can be said of her, and of somebody who stays."""
    for user in (NAME, "bob"):
        service.attach(user, f"device-of-{NAME}" if user == NAME else "laptop", name=TEXT if user == NAME else "")
        service.set_status(user, "dnd", TEXT if user == NAME else "bob stays")
        service.record_activity(user, "login")
        service.set_schedule(user, "UTC", [("mon-fri", "09:00", "17:00")])
        service.add_claim(user, "meeting", "call", "dnd")
    service.join(NAME, f"device-of-{NAME}", "general")


def test_a_revocation_holds_after_a_kill(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    earlier = token(time.time() - 30)
    with machine.daemon() as daemon, machine.service(daemon) as service:
        laptop = connect(daemon.url(NAME, "laptop"), token=earlier, reconnect=False)
        service.revoke(NAME)
        daemon.kill()
        laptop.close()
    with machine.daemon(killed=False) as daemon:
        with pytest.raises(AuthError) as caught:
            connect(daemon.url(NAME, "laptop"), token=earlier)
        assert caught.value.code == "token_revoked"
        connect(daemon.url(NAME, "laptop"), token=token(time.time())).close()
    with machine.daemon() as daemon, pytest.raises(AuthError, match="made earlier"):
        connect(daemon.url(NAME, "laptop"), token=earlier)


def test_no_file_holds_an_erased_user_once_that_is_told(tmp_path: Path) -> None:
    """With two generations of snapshots and several segments before it."""
    machine = Machine(tmp_path)
    with machine.daemon(limits=OFTEN) as daemon:
        with machine.service(daemon) as service:
            live(service)
            for number in range(200):
                service.set_text(NAME, f"{TEXT} {number}")
            until(lambda: daemon.log().count("snapshot: finished") >= 2, "two generations")
            assert len(machine.files_with(NAME, TEXT)) > 2
            with service.events() as events:
                service.erase(NAME)
                assert service.get_status(NAME).version == 0
                told = next(event for event in events if event.kind == "erased")
                assert told.user == NAME
            assert machine.files_with(NAME, TEXT) == []
            assert machine.files_with("bob stays") != [] and service.get_status("bob").text == "bob stays"
            assert "holds nothing more of users: 1" in daemon.log() and NAME not in daemon.log()
    with machine.daemon(killed=False) as daemon, machine.service(daemon) as service:
        assert service.get_status(NAME).version == 0 and service.get_devices(NAME) == []
        assert service.get_status("bob").text == "bob stays"


def test_an_erasure_goes_on_after_a_kill(tmp_path: Path) -> None:
    """The second of a minute waits, and finds the daemon killed."""
    machine = Machine(tmp_path)
    with machine.daemon() as daemon, machine.service(daemon) as service:
        live(service)
        with service.events() as events:
            service.erase("somebody")
            assert next(event for event in events if event.kind == "erased").user == "somebody"
        service.erase(NAME)
        daemon.kill()
    assert machine.files_with(TEXT) != []
    with machine.daemon() as daemon, machine.service(daemon) as service:
        assert service.get_status(NAME).version == 0 and service.get_devices(NAME) == []
        daemon.until_log("holds nothing more of users: 1", times=2)
        assert machine.files_with(NAME, TEXT) == []
        assert service.get_status("bob").text == "bob stays"


def test_a_snapshot_that_is_under_way_does_not_count(tmp_path: Path) -> None:
    """It began before the erasure and may hold the user: another follows, and takes its place alone."""
    machine = Machine(tmp_path)
    held = tmp_path / "held"
    hold = f"""
import os, time
from presenced.storage.snapshot import SnapshotWriter
finish = SnapshotWriter.finish
def held(self, end_seq):
    while os.path.exists({str(held)!r}):
        time.sleep(0.01)
        yield
    yield from finish(self, end_seq)
SnapshotWriter.finish = held
"""
    with machine.daemon(hold, limits=OFTEN) as daemon, machine.service(daemon) as service:
        held.touch()
        live(service)
        for number in range(100):
            service.set_text(NAME, f"{TEXT} {number}")
        daemon.until_log("snapshot: begun")
        with service.events() as events:
            service.erase(NAME)
            held.unlink()
            assert next(event for event in events if event.kind == "erased").user == NAME
        assert machine.files_with(NAME, TEXT) == []
        assert daemon.log().count("snapshot: finished") >= 2
