"""The real port to the disk: that it asks the system for what the simulated one only counts."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from presenced.storage.files import OsDirectory, OsFile


@pytest.fixture
def pipe() -> int:
    """What cannot be synced, and says so to whoever asks the system for it."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_sync_of_a_file_is_one_of_the_systems(pipe: int) -> None:
    file = OsFile(pipe)
    with pytest.raises(OSError) as refused:
        file.sync()
    assert refused.value.errno == errno.EINVAL
    file.close()


def test_a_sync_of_a_directory_is_one_of_the_systems(tmp_path: Path, pipe: int) -> None:
    directory = OsDirectory(tmp_path)
    directory.sync()
    own, directory._descriptor = directory._descriptor, pipe
    with pytest.raises(OSError) as refused:
        directory.sync()
    assert refused.value.errno == errno.EINVAL
    directory.close()
    os.close(own)


@pytest.mark.parametrize("name", ["wal-0000000001.log", "snap-0000000001.prs", "MANIFEST"])
def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"somebody else's")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).symlink_to(other)
    directory = OsDirectory(tmp_path / "data")
    for write in (False, True):
        with pytest.raises(OSError) as refused:
            directory.open(name, write=write)
        assert refused.value.errno == errno.ELOOP
    with pytest.raises(FileExistsError):
        directory.open(name, create=True)
    assert other.read_bytes() == b"somebody else's"
    directory.close()


def remove_file(place: Path) -> None:
    (place / "one").unlink()


def remove_all(place: Path) -> None:
    remove_file(place)
    place.rmdir()


def replace(place: Path) -> None:
    place.rename(place.with_name("away"))
    place.mkdir()
    (place / "one").touch()


@pytest.mark.parametrize(
    ("harm", "says"), [(remove_file, "data/one is gone"), (remove_all, "data is gone"), (replace, "another directory")]
)
def test_what_is_not_in_its_place_is_lost(tmp_path: Path, harm: Callable[[Path], None], says: str) -> None:
    place = tmp_path / "data"
    directory = OsDirectory(place)
    directory.open("one", create=True).close()
    assert directory.lost(("one",)) == ""
    harm(place)
    assert directory.lost(("one",)).endswith(says) or says in directory.lost(("one",))
    assert directory.names() == ([] if harm is not replace else ["one"]), "of the directory that is open"
    directory.close()
