"""`presenced store` and `presenced backup` as an operator uses them: real processes, and daemons before and after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import pytest

from presenced.core.dormants import Shelf, packed
from presenced.core.event_chunks import pack
from presenced.core.records import (
    ActivityAdded,
    AudienceSet,
    BlockSet,
    ClaimSet,
    ContactSet,
    ContactsKept,
    ContactsSet,
    DeviceForgotten,
    DeviceSet,
    EventAdded,
    EventsAt,
    EventsChunk,
    EventsErased,
    EventStreamEnded,
    EventStreamSet,
    Fact,
    FollowerForgotten,
    FollowerSet,
    HidingSet,
    MembershipSet,
    PositionsKnown,
    RecordSet,
    ScheduleSet,
    ShowingSet,
    ShownSet,
    TextSet,
    TokensRevoked,
    UserErased,
    UsersAsleep,
    VersionsRaised,
)
from presenced.storage.layout import FRAMES_AT
from presenced.wire.codec import encode
from presenced.wire.messages import SetStatus, Watch, Window
from tests.storage.making import Making, contents, flip, recovered
from tests.support import REPOSITORY, warm
from tests.support.daemon import Daemon, StartDaemon
from tests.support.until import PATIENCE_S
from tests.support.wire import DONE, RECORDS, WELCOME, Wire, hello, opened

DAMAGED, UNUSABLE, BUSY, USAGE = 65, 73, 75, 2
FIRST_FRAME = FRAMES_AT


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.run("presenced", *map(str, args))


def done(*args: str | Path, code: int = 0) -> str:
    """What it prints, all of it on stdout."""
    result = run(*args)
    assert (result.returncode, result.stderr) == (code, ""), result
    return result.stdout


def refused(code: int, *args: str | Path) -> str:
    """The one line with which it refuses; nothing is printed beside it."""
    result = run(*args)
    assert (result.returncode, result.stdout) == (code, ""), result
    (line,) = result.stderr.splitlines()
    assert line.startswith("presenced: ")
    return line


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Facts 1 to 12, a snapshot, facts 13 to 24; crashed."""
    making = Making(tmp_path / "state")
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.leave()
    return making.place


def active(place: Path) -> Path:
    return max(place.glob("wal-*"))


def text_of(daemon: Daemon, user: str) -> str:
    with opened(daemon.port, f"{user}-watcher") as link:
        link.send(Watch(1, [user]))
        found: str = link.until(RECORDS)[4][0][2]
        return found


# --- check -------------------------------------------------------------------------------------------------------


def test_check_prints_what_there_is_and_a_verdict(place: Path) -> None:
    before = contents(place)
    lines = done("store", "check", place).splitlines()
    assert lines[0] == str(place)
    assert lines[1].startswith("format 2, store cdcd") and "epoch 1234, " in lines[1]
    assert any(line.startswith("snapshot snap-") and line.endswith(": ok") for line in lines)
    assert sum(line.startswith("segment wal-") and line.endswith(": ok") for line in lines) == 2
    assert any("active, facts 13..24, 4 frames" in line for line in lines)
    assert lines[-1] == "ok"
    assert contents(place) == before
    assert not (place / "LOCK").exists()


def test_check_for_programs(place: Path) -> None:
    report: dict[str, Any] = json.loads(done("store", "check", place, "--json"))
    assert (report["verdict"], report["sound"], report["next_seq"]) == ("ok", True, 25)
    flip(active(place), FIRST_FRAME + 60)
    report = json.loads(done("store", "check", place, "--json", code=DAMAGED))
    assert (report["sound"], report["truncate_at"], report["lost_facts"]) == (False, 13, 12)


def test_check_and_the_daemon_agree(place: Path, start_daemon: StartDaemon) -> None:
    data = active(place).read_bytes()
    end = len(data.rstrip(b"\0"))
    flip(active(place), end - 4)
    lines = done("store", "check", place).splitlines()
    assert lines[-1].startswith("ok, torn tail of ") and lines[-1].endswith(" bytes will be dropped")
    assert text_of(start_daemon("--data-dir", str(place)), "user1") == "text 21"


def test_check_of_a_running_daemon(tmp_path: Path, start_daemon: StartDaemon) -> None:
    place = tmp_path / "state"
    daemon = start_daemon("--data-dir", str(place))
    with Writer(daemon) as writer:
        writer.wait_for(50)
        for _ in range(5):
            lines = done("store", "check", place).splitlines()
            assert lines[1].endswith("in use or not stopped cleanly"), "a running daemon is no crash"
            assert lines[-1].startswith("ok"), lines
    assert done("store", "check", place).splitlines()[-1] == "ok"


@pytest.mark.parametrize("command", [("check",), ("dump",), ("repair", "--truncate-at", "3")])
def test_what_is_no_store(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "No such file" in refused(UNUSABLE, "store", *command, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "letter.txt").write_text("hello")
    assert "holds no store" in refused(UNUSABLE, "store", *command, tmp_path)
    assert "Not a directory" in refused(UNUSABLE, "store", *command, tmp_path / "letter.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


# --- dump --------------------------------------------------------------------------------------------------------


def test_dump_one_line_a_fact(place: Path) -> None:
    lines = done("store", "dump", place, "--from", "20").splitlines()
    assert [line.split()[0] for line in lines] == ["20", "21", "22", "23", "24"]
    name = active(place).name
    assert lines[0].split("  ")[1] == "2023-11-14 22:13:20.000"
    assert lines[0].split("  ")[2].startswith(f"{name}@")
    assert lines[0].endswith('TextSet user="user0" text="text 20" emoji="" until_ms=0')


EVENT = EventAdded("alice", 3, 5, 1, "contact_request", "", "bob", "hello")


def test_dump_tells_of_events_in_chunks_by_user(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    other = EventAdded("carol", 4, 5, 1, "", "away", "dnd", "")
    making.commit([EventsChunk("", 2, 4, 2, 5, 5, pack([EVENT, other]).data, b"", [])])
    making.leave()
    for user, told in (("alice", ["alice"]), ("bob", ["alice"]), ("carol", ["carol"]), ("dave", [])):
        lines = [
            json.loads(line) for line in done("store", "dump", making.place, "--user", user, "--json").splitlines()
        ]
        assert [line["fields"]["user"] for line in lines] == told


def test_dump_of_every_kind_of_fact(tmp_path: Path) -> None:
    facts: list[Fact] = [
        ClaimSet("alice", "dnd", 1, 2),
        TextSet("alice", "a\u00a0text\u3000\u0645\u06cc\u200c\u062e", "", 0),
        DeviceSet("alice", "laptop", "desktop", "", 0, "online", True, 3),
        DeviceForgotten("alice", "phone"),
        RecordSet("alice", "dnd", 1, 0, "laptop", 7),
        ScheduleSet("alice", "Europe/Berlin", [Window(31, 1080, 480)], "dnd"),
        ActivityAdded("alice", "message", "general", "", 5, ""),
        MembershipSet("alice", "laptop", "general", True),
        VersionsRaised("", 7),
        ShownSet("alice", "another text", "", 0),
        TokensRevoked("alice", 5),
        ContactSet("alice", "bob", 1, 2, 7, 8),
        ContactsSet("alice", ["bob", "carol"], [1 + 2 * 256, 3 + 3 * 256], 9, 9),
        BlockSet("alice", "bob", True),
        HidingSet("alice", "bob", True),
        ShowingSet("alice", "laptop", "bob", True),
        AudienceSet("alice", "contacts", "nobody", "everyone", ["bob"], []),
        UserErased("alice", 6),
        PositionsKnown("", 5, 4),
        EventAdded("alice", 2, 5, 2, "", "offline", "online", ""),
        EventsChunk("", 2, 3, 1, 5, 5, pack([EVENT]).data, b"", [(9, 0, 1)]),
        EventsAt("", 4, 5),
        EventStreamSet("", 9, 8, ["alice"], [], [], 0, 0),
        EventStreamEnded("", 9),
        EventsErased("alice", 3),
        FollowerSet("app", "index", 8, 3, 5),
        FollowerForgotten("app", "index"),
        UsersAsleep(
            "", 0, 1, 7, 0, 0, *Shelf.of([(b"dave", packed(7, encode([RecordSet("", "offline", 1, 1, "", 3)])))])
        ),
    ]
    facts.insert(-1, ContactsKept("dave", ["erin"], [33], 4))
    assert {type(fact) for fact in facts} == set(get_args(Fact))
    making = Making(tmp_path / "state")
    making.commit(facts)
    making.leave()
    lines = done("store", "dump", making.place).splitlines()
    # What is in a chunk of events stands behind it.
    chunk = facts.index(next(fact for fact in facts if isinstance(fact, EventsChunk)))
    listed = [*facts[: chunk + 1], EVENT, *facts[chunk + 1 : -1], RecordSet("dave", "offline", 1, 1, "", 7)]
    assert [line.split("  ")[3].split()[0] for line in lines] == [type(fact).__name__ for fact in listed]
    assert "a\u00a0text\u3000\u0645\u06cc\u200c\u062e" in lines[1]
    assert 'zone="Europe/Berlin" windows=[[31, 1080, 480]] status="dnd"' in lines[5]
    dumped = [json.loads(line) for line in done("store", "dump", making.place, "--json").splitlines()]
    assert (dumped[-1]["fields"]["user"], dumped[-1]["fields"]["version"]) == ("dave", 7), "what is known of who sleeps"
    assert dumped[5]["fields"]["windows"] == [[31, 1080, 480]]
    assert done("store", "check", making.place).splitlines()[-1] == "ok"
    assert done("backup", making.place, tmp_path / "copy").endswith("read back: ok\n")
    assert done("store", "repair", making.place, "--truncate-at", "7").splitlines()[-1] == "ok"


def test_dump_of_one_user_for_programs(place: Path) -> None:
    lines = [json.loads(line) for line in done("store", "dump", place, "--user", "user3", "--json").splitlines()]
    assert [(line.get("seq", 0), line["fields"]["text"]) for line in lines] == [
        (3, "text 3"),
        (8, "text 8"),
        (0, "text 8"),
        (13, "text 13"),
        (18, "text 18"),
        (23, "text 23"),
    ]


def test_dump_reports_damage_and_goes_on(place: Path) -> None:
    flip(active(place), FIRST_FRAME + 60)
    lines = done("store", "dump", place, code=DAMAGED).splitlines()
    (damage,) = [line for line in lines if line.startswith("!!")]
    assert f"{active(place).name}@{FIRST_FRAME}" in damage
    assert lines[-1].startswith("24  ")


def test_dump_into_a_pipe_that_closes(place: Path) -> None:
    command = f"{sys.executable} -m presenced store dump {place} | head -1"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S, cwd=REPOSITORY)
    assert (result.stderr, len(result.stdout.splitlines())) == ("", 1)


def test_texts_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    making.commit([TextSet("user", "\x1b[2J\nnext", "", 0)])
    making.leave()
    (line,) = done("store", "dump", making.place).splitlines()
    assert "\x1b" not in line


# --- repair ------------------------------------------------------------------------------------------------------


def test_repair_and_the_daemon_starts(place: Path, start_daemon: StartDaemon) -> None:
    flip(active(place), FIRST_FRAME + 200)
    report = done("store", "check", place, code=DAMAGED)
    (advice,) = [line for line in report.splitlines() if "--truncate-at" in line]
    at = advice.split("--truncate-at ")[1].split()[0]
    lines = done("store", "repair", place, "--truncate-at", at).splitlines()
    assert lines[0] == f"the log ends before fact {at}; facts {at}..24 are gone ({25 - int(at)})"
    assert "quarantine" in lines[1] and active(place).name != lines[1]
    assert lines[-1] == "ok"
    daemon = start_daemon("--data-dir", str(place))
    assert text_of(daemon, "user0") == "text 15"
    assert epoch_of(daemon) != 1234, "what clients know of the facts that are gone must not count"


def epoch_of(daemon: Daemon) -> int:
    link = Wire(daemon.port)
    link.send(hello("watcher"))
    welcome = link.next()
    assert welcome[0] == WELCOME
    link.close()
    epoch: int = welcome[14]
    return epoch


def test_repair_refuses(place: Path, start_daemon: StartDaemon) -> None:
    before = contents(place)
    result = run("store", "repair", place)
    assert result.returncode == USAGE and "--truncate-at" in result.stderr
    assert run("store", "repair", place, "--truncate-at", "0").returncode == USAGE
    assert "from 13 to 25" in refused(DAMAGED, "store", "repair", place, "--truncate-at", "26")
    assert contents(place) == before
    daemon = start_daemon("--data-dir", str(place))
    assert "in use" in refused(BUSY, "store", "repair", place, "--truncate-at", "14")
    daemon.stop()


def test_repair_passes_over_what_is_no_file_of_the_store(place: Path) -> None:
    (place / "letter.txt").write_text("hello")
    done("store", "repair", place, "--truncate-at", "14")
    assert (place / "letter.txt").read_text() == "hello"


# --- backup ------------------------------------------------------------------------------------------------------


class Writer:
    """Sets a user's text over and over, one request after the other; counts what was acknowledged."""

    def __init__(self, daemon: Daemon) -> None:
        self.acknowledged = 0
        self._link = opened(daemon.port, "busy")
        self._more = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop:
            number = self.acknowledged + 1
            self._link.send(SetStatus(number, text=f"change {number}"))
            while self._link.until(DONE)[1] != number:
                pass
            with self._more:
                self.acknowledged = number
                self._more.notify()

    def wait_for(self, number: int) -> None:
        with self._more:
            assert self._more.wait_for(lambda: self.acknowledged >= number, PATIENCE_S)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._link.close()


def test_a_backup_of_a_running_daemon(tmp_path: Path, start_daemon: StartDaemon) -> None:
    """Under writes; what was acknowledged before it began is in it, and a daemon starts on it."""
    daemon = start_daemon("--data-dir", str(tmp_path / "state"), "--rate", "0", "--change-spacing", "0")
    holds = []
    with Writer(daemon) as writer:
        for turn in range(3):
            writer.wait_for(writer.acknowledged + 30)
            least = writer.acknowledged
            line = done("backup", tmp_path / "state", tmp_path / f"copy{turn}")
            assert line.endswith("; read back: ok\n")
            holds.append((least, tmp_path / f"copy{turn}"))
    for least, copy in holds:
        state, _ = recovered(copy)
        number = int(state["busy"].text.split()[1])  # type: ignore[union-attr]
        assert least <= number <= writer.acknowledged
    least, copy = holds[-1]
    restored = start_daemon("--data-dir", str(copy))
    assert int(text_of(restored, "busy").split()[1]) >= least
    assert epoch_of(restored) != epoch_of(daemon)


def test_a_backup_of_a_stopped_daemon(place: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    before = contents(place)
    line = done("backup", place, tmp_path / "copy")
    assert "3 files" in line and "facts up to 24, starting from snap-" in line
    assert contents(place) == before
    assert recovered(tmp_path / "copy")[0] == recovered(place)[0]


def test_backup_refuses(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    assert "is a symbolic link" in refused(UNUSABLE, "backup", place, tmp_path / "link")
    assert not list((tmp_path / "mine").iterdir())
    if os.geteuid() == 0:
        (tmp_path / "foreign").symlink_to(tmp_path / "mine")
        os.chown(tmp_path / "foreign", 65_534, 65_534, follow_symlinks=False)
        assert "is a symbolic link of another user" in refused(UNUSABLE, "backup", place, tmp_path / "foreign" / "copy")
        os.chown(tmp_path / "mine", 65_534, 65_534)
        assert "belongs to another user" in refused(UNUSABLE, "backup", place, tmp_path / "mine")
    assert not list((tmp_path / "mine").iterdir())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("hello")
    assert "not an empty directory" in refused(UNUSABLE, "backup", place, tmp_path / "full")
    assert "not an empty directory" in refused(UNUSABLE, "backup", place, tmp_path / "full" / "letter.txt")
    assert "No such file" in refused(UNUSABLE, "backup", place, tmp_path / "none" / "copy")
    assert "No such file" in refused(UNUSABLE, "backup", tmp_path / "none", tmp_path / "copy")
    assert "holds no store" in refused(UNUSABLE, "backup", tmp_path / "full", tmp_path / "copy")
    assert not (tmp_path / "none").exists()
    flip(active(place), FIRST_FRAME + 60)
    assert f"at {FIRST_FRAME}" in refused(DAMAGED, "backup", place, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir()), "half a copy"


def test_help_tells_the_exit_codes() -> None:
    for command in (("store", "check"), ("store", "dump"), ("store", "repair"), ("backup",)):
        text = done(*command, "--help")
        assert "Exit codes:" in text and "DIR" in text
