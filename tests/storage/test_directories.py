"""A data directory that cannot be used: the daemon says so in one line, with its exit code, and changes nothing.

The real daemon on real directories. What needs mounts (a full disk, a read-only one) happens in a mount namespace of
the daemon's own, which ends with it; root on the machine is not needed for that, only user namespaces.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from presenced.storage.files import OsDirectory
from presenced.storage.layout import FRAMES_AT, SEGMENT_HEADER_BYTES
from presenced.storage.manifest import read_manifest, write_manifest
from presenced.wire.messages import SetStatus, Watch
from tests.storage.making import Making, contents, copied, flip
from tests.support import REPOSITORY
from tests.support.daemon import Daemon, StartDaemon
from tests.support.until import PATIENCE_S
from tests.support.wire import DONE, RECORDS, opened

DAMAGE, UNUSABLE, DISK, BUSY, PERMISSION = 65, 73, 74, 75, 77


def serve(place: str | Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "presenced",
        "serve",
        "--dev",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        str(place),
        *options,
    ]


def refused(command: list[str], code: int, *says: str) -> str:
    """It ends by itself, with this code and one line on stderr that says all this, and never listened."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=REPOSITORY)
    assert (done.returncode, done.stdout) == (code, ""), done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("presenced: ")
    for words in says:
        assert words in lines[0], lines[0]
    return lines[0]


def untouched(place: Path, code: int, *says: str) -> None:
    """As `refused`, and the directory is as it was."""
    before = contents(place)
    refused(serve(place), code, *says)
    assert contents(place) == before


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two snapshots and three segments, crashed."""
    making = Making(tmp_path_factory.mktemp("made") / "state")
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.journal.rotate()
    making.texts(4)
    making.journal.seal()
    making.leave()
    return making.place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it for each test to spoil."""
    return copied(made, tmp_path / "state")


def segment(place: Path, index: int) -> Path:
    return sorted(place.glob("wal-*"))[index]


def snapshot(place: Path, index: int) -> Path:
    return sorted(place.glob("snap-*"))[index]


# --- damage ------------------------------------------------------------------------------------------------------

Harm = Callable[[Path], None]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path, start: int) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:start].ljust(len(data), b"\0"))


def both_manifests(harm: Harm) -> Harm:
    def do(place: Path) -> None:
        harm(place / "MANIFEST")
        harm(place / "MANIFEST.copy")

    return do


def newer(place: Path) -> None:
    directory = OsDirectory(place)
    manifest, _ = read_manifest(directory)
    assert manifest is not None
    write_manifest(directory, manifest.changed(format=7))
    directory.close()


HARMS: dict[str, tuple[Harm, tuple[str, ...]]] = {
    "newer format": (newer, ("format 7",)),
    "sealed segment missing": (lambda place: segment(place, 1).unlink(), ("wal-", "missing")),
    "active segment missing": (lambda place: segment(place, -1).unlink(), ("wal-", "missing")),
    "sealed segment empty": (lambda place: empty(segment(place, 1)), ("wal-", "header")),
    "active segment empty": (lambda place: empty(segment(place, -1)), ("wal-", "header")),
    "sealed segment damaged": (lambda place: flip(segment(place, 1), FRAMES_AT + 104), (" at ", "wal-")),
    "active segment damaged": (lambda place: flip(segment(place, -1), FRAMES_AT + 104), (" at ", "wal-")),
    "active segment cut behind its header": (
        lambda place: os.truncate(segment(place, -1), SEGMENT_HEADER_BYTES),
        ("wal-", "marks"),
    ),
    "active segment cut behind its marks": (lambda place: os.truncate(segment(place, -1), FRAMES_AT), ("were synced",)),
    "active segment zeroed": (lambda place: zero(segment(place, -1), FRAMES_AT), ("were synced", "not a torn write")),
    "manifests missing": (both_manifests(Path.unlink), ("no MANIFEST",)),
    "manifests empty": (both_manifests(empty), ("empty",)),
    "manifests damaged": (both_manifests(lambda path: flip(path, 20)), ("checksum",)),
    "snapshots missing": (lambda place: [path.unlink() for path in place.glob("snap-*")], ("snap-", "missing")),  # type: ignore[dict-item,return-value]
    "snapshots empty": (lambda place: [empty(path) for path in place.glob("snap-*")], ("snap-", "0 bytes")),  # type: ignore[dict-item,return-value]
}


@pytest.mark.parametrize("harm", HARMS)
def test_damage_is_refused(place: Path, harm: str) -> None:
    do, says = HARMS[harm]
    do(place)
    untouched(place, DAMAGE, "refusing to start", *says)


@pytest.mark.parametrize(
    "harm", ["MANIFEST missing", "MANIFEST empty", "MANIFEST damaged", "snapshot missing", "snapshot empty"]
)
def test_damage_that_a_second_copy_makes_good_is_loudly_told(place: Path, start_daemon: StartDaemon, harm: str) -> None:
    path = place / "MANIFEST" if harm.startswith("MANIFEST") else snapshot(place, -1)
    {"missing": Path.unlink, "empty": empty, "damaged": lambda one: flip(one, 20)}[harm.split()[1]](path)
    daemon = start_daemon("--data-dir", str(place))
    warnings = [line for line in daemon.log().splitlines() if " WARNING " in line]
    assert any(path.name in line for line in warnings), daemon.log()
    with opened(daemon.port, "watcher") as link:
        link.send(Watch(1, ["user1"]))
        assert "text 46" in str(link.until(RECORDS))
    daemon.stop()
    daemon = start_daemon("--data-dir", str(place))
    assert "WARNING" not in daemon.log(), "and the next time all is well"


# --- not ours, not there, in use ---------------------------------------------------------------------------------


STRAYS = (".DS_Store", ".nfs0001", "nohup.out", "holiday.jpg")


def test_strays_are_passed_over_and_told(place: Path, start_daemon: StartDaemon) -> None:
    for name in STRAYS:
        (place / name).write_bytes(b"\xff\xd8")
    command = [sys.executable, "-m", "presenced", "store", "check", str(place)]
    checked = subprocess.run(command, capture_output=True, text=True)
    daemon = start_daemon("--data-dir", str(place))
    told = f"it holds {', '.join(sorted(STRAYS))}: not presenced's, and passed over"
    assert checked.returncode == 0 and f"remark: {told}" in checked.stdout.splitlines()
    assert any(" WARNING " in line and told in line for line in daemon.log().splitlines()), daemon.log()
    works(daemon)
    daemon.stop()
    assert all((place / name).read_bytes() == b"\xff\xd8" for name in STRAYS)


def test_a_new_store_beside_what_comes_by_itself(tmp_path: Path, start_daemon: StartDaemon) -> None:
    place = tmp_path / "state"
    place.mkdir()
    for name in STRAYS[:3]:
        (place / name).touch()
    works(start_daemon("--data-dir", str(place)))


@pytest.mark.parametrize("name", ["wal-0000000001.log.bak", "snap-1.prs", "MANIFEST~", "manifest", "wal-notes.txt"])
def test_what_nearly_has_the_name_of_ours_is_refused(place: Path, name: str) -> None:
    """It may be what is missing; and nothing of that name is ever removed."""
    (place / name).write_bytes(b"?")
    untouched(place, UNUSABLE, f"holds {name}", "nearly the name")
    command = [sys.executable, "-m", "presenced", "store", "check", str(place)]
    refused(command, UNUSABLE, f"holds {name}", "nearly the name")


def moved_behind_a_link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / f"moved-{path.name}"))


PLACED: dict[str, Callable[[Path], None]] = {"directory": Path.mkdir, "pipe": os.mkfifo, "link": moved_behind_a_link}


@pytest.mark.parametrize(
    ("which", "kind"),
    [
        ("LOCK", "directory"),
        ("MANIFEST", "directory"),
        ("MANIFEST.tmp", "pipe"),
        ("snap-*", "pipe"),
        ("snap-*", "link"),
        ("wal-*", "link"),
    ],
)
def test_what_is_no_file_under_a_name_of_ours_is_refused_by_name(place: Path, which: str, kind: str) -> None:
    """No disk has failed, so that a restart a second later would not help; and a pipe would be waited for without an
    end."""
    path = (sorted(place.glob(which)) or [place / which])[-1]
    path.touch()
    if kind != "link":
        path.unlink()
    PLACED[kind](path)
    untouched(place, UNUSABLE, str(path), "is no regular file")
    command = [sys.executable, "-m", "presenced", "store", "check", str(place)]
    refused(command, UNUSABLE, str(path), "is no regular file")


def test_a_directory_that_others_may_write_to_is_told(place: Path, start_daemon: StartDaemon) -> None:
    place.chmod(0o777)
    daemon = start_daemon("--data-dir", str(place))
    told = f"it has mode 0777: other users can remove and replace what is in it; chmod 700 {place}"
    assert any(" WARNING " in line and told in line for line in daemon.log().splitlines()), daemon.log()


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("hello")
    untouched(tmp_path, UNUSABLE, "letter.txt")
    assert sorted(os.listdir(tmp_path)) == ["letter.txt"], "not even a lock"


def test_a_file_in_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("hello")
    refused(serve(tmp_path / "state"), UNUSABLE, "state")
    refused(serve(tmp_path / "state" / "below"), UNUSABLE, "state")
    assert (tmp_path / "state").read_text() == "hello"


def test_where_no_directory_can_be_made() -> None:
    """/proc is written to by nobody, root included."""
    refused(serve("/proc/presenced"), UNUSABLE, "/proc/presenced")


def test_a_second_daemon(place: Path, start_daemon: StartDaemon) -> None:
    # After a clean stop the first one has nothing to write by itself.
    start_daemon("--data-dir", str(place)).stop()
    first = start_daemon("--data-dir", str(place))
    untouched(place, BUSY, "in use by another presenced")
    works(first)


def works(daemon: Daemon) -> None:
    with opened(daemon.port, "alice") as link:
        link.send(SetStatus(9, text="still here"))
        assert link.until(DONE)[1] == 9


def test_the_lock_ends_with_the_process(place: Path, start_daemon: StartDaemon) -> None:
    first = start_daemon("--data-dir", str(place))
    first.kill()
    works(start_daemon("--data-dir", str(place)))


# --- mounts ------------------------------------------------------------------------------------------------------


def in_a_namespace(script: str) -> list[str]:
    """Run a shell script that may mount what it likes; nobody else sees it, and it ends with the script."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    return [*unshare, "sh", "-e", "-c", script]


def test_a_read_only_file_system(place: Path) -> None:
    """A mount, because permissions do not bind root."""
    before = contents(place)
    where = shlex.quote(str(place))
    script = f"mount --bind {where} {where}; mount -o remount,bind,ro {where}; exec {shlex.join(serve(place))}"
    refused(in_a_namespace(script), UNUSABLE, str(place), "Read-only")
    assert contents(place) == before


@pytest.fixture
def reachable(made: Path) -> Iterator[Path]:
    """A copy below a directory that everybody may enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="presenced-") as above:
        os.chmod(above, 0o755)
        yield copied(made, Path(above) / "state")


def test_a_directory_without_permission(reachable: Path) -> None:
    """As the user nobody, or as oneself, if one is not root anyway."""
    command = serve(reachable)
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *command]
    before = contents(reachable)
    reachable.chmod(0)
    try:
        refused(command, PERMISSION, f"no permission for {reachable}: Permission denied")
    finally:
        reachable.chmod(0o700)
    assert contents(reachable) == before


@pytest.mark.parametrize("which", ["LOCK", "MANIFEST"])
def test_a_file_without_permission_is_told_with_its_place(reachable: Path, which: str) -> None:
    """As after a restore by root: the directory is one's own, and a file in it is not."""
    path = reachable / which
    path.touch()
    path.chmod(0)
    commands = [serve(reachable)]
    if which != "LOCK":
        commands.append([sys.executable, "-m", "presenced", "store", "check", str(reachable)])
    for command in commands:
        if os.geteuid() == 0:
            for one in (reachable, *reachable.iterdir()):
                os.chown(one, 65534, 65534)
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", *command]
        refused(command, PERMISSION, f"no permission for {path}: Permission denied")


def full_disk(place: Path) -> list[str]:
    """The daemon on a file system without room, in which `place` is a copy of what it is outside. Lists of the files
    before and after go to $BEFORE and $AFTER, which are elsewhere."""
    above, where = shlex.quote(str(place.parent)), shlex.quote(str(place))
    listing = f"(cd {where}; find . ! -name LOCK -type f -exec md5sum {{}} + | sort)"
    script = f"""
        hold=$(mktemp -d)
        cp -a {where} "$hold"/held
        mount -t tmpfs -o size=8m none {above}
        cp -a "$hold"/held {where}
        rm -r "$hold"
        dd if=/dev/zero of={above}/ballast bs=4096 2>/dev/null || true
        {listing} > "$BEFORE"
        code=0
        {shlex.join(serve(place))} || code=$?
        {listing} > "$AFTER"
        exit $code
    """
    return in_a_namespace(script)


@pytest.mark.parametrize("kind", ["new", "existing"])
def test_a_full_disk(
    made: Path, tmp_path_factory: pytest.TempPathFactory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start makes a new segment, which takes more room than there is."""
    place = tmp_path_factory.mktemp("mounted") / "state"
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    if kind == "new":
        place.mkdir()
    else:
        copied(made, place)
    monkeypatch.setenv("BEFORE", str(elsewhere / "before"))
    monkeypatch.setenv("AFTER", str(elsewhere / "after"))
    refused(full_disk(place), DISK, "failed", "No space left", "free or replace it")
    before, after = ((elsewhere / name).read_text().splitlines() for name in ("before", "after"))
    assert before == after
    assert len(before) == (0 if kind == "new" else 7)
