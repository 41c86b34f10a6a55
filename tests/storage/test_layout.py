"""The bytes on disk: headers, frames, the manifest and snapshots, there and back, and what damage to each does."""

from __future__ import annotations

import errno
import zlib
from itertools import count
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.records import ClaimSet, DeviceForgotten, DeviceSet, Fact, RecordSet, TextSet
from presenced.storage import layout
from presenced.storage.files import DiskFull, OsDirectory, OsFile
from presenced.storage.frames import array_of
from presenced.storage.layout import FrameHeader, LayoutError, SegmentHeader
from presenced.storage.manifest import (
    Manifest,
    ManifestError,
    NewerFormat,
    SegmentEntry,
    SnapshotEntry,
    read_manifest,
    write_manifest,
)
from presenced.storage.recovery import DamageError, recover
from presenced.storage.snapshot import SnapshotError, verify_snapshot
from presenced.storage.store import open_store
from presenced.storage.survey import survey
from presenced.wire.codec import encode

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
names = st.text(max_size=12)
moments = st.integers(0, 2**53)
statuses = st.sampled_from(["chat", "online", "away", "xa", "dnd"])
facts: st.SearchStrategy[Fact] = st.one_of(
    st.builds(ClaimSet, names, statuses | st.just("") | st.just("offline"), moments, moments),
    st.builds(TextSet, names, st.text(max_size=60), names, moments),
    st.builds(
        DeviceSet,
        names,
        names,
        names,
        names,
        st.integers(-128, 127),
        statuses,
        st.booleans(),
        moments,
        moments,
        st.integers(0, 2),
    ),
    st.builds(DeviceForgotten, names, names),
    st.builds(RecordSet, names, statuses | st.just("offline"), moments, moments, names, moments),
)
headers = st.builds(SegmentHeader, st.binary(min_size=16, max_size=16), u64, u64, u64, u64, u64, u32, u32, moments, u32)
KINDS = {1: ClaimSet, 2: TextSet, 3: DeviceSet, 4: DeviceForgotten, 5: RecordSet}


def pack(payload: bytes, salt: int = 7, **fields: Any) -> tuple[bytes, int]:
    given_fields = {"first_seq": 1, "count": 1, "frame_type": 1, "previous_crc": 2, "durable_seq": 1, "wall_ms": 3}
    return layout.pack_frame(payload, salt=salt, **{**given_fields, **fields})


# --- segment headers ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(headers)
def test_a_segment_header_comes_back(header: SegmentHeader) -> None:
    block = layout.pack_segment_header(header)
    assert len(block) == layout.SEGMENT_HEADER_BYTES
    assert layout.unpack_segment_header(block + b"frames") == header
    assert layout.header_crc(block) == zlib.crc32(block[:-4])


def test_any_changed_byte_of_a_segment_header_is_seen() -> None:
    block = layout.pack_segment_header(SegmentHeader(b"s" * 16, 3, 40, 2, 39, 5000, 77, 99, 1))
    for offset in range(len(block)):
        changed = bytearray(block)
        changed[offset] ^= 0x10
        with pytest.raises(LayoutError):
            layout.unpack_segment_header(bytes(changed))
    for size in range(0, len(block), 97):
        with pytest.raises(LayoutError, match="bytes"):
            layout.unpack_segment_header(block[:size])


@pytest.mark.parametrize(("place", "value", "says"), [(0, b"X", "magic"), (8, b"\x03", "format 3")])
def test_a_whole_header_of_something_else_is_refused(place: int, value: bytes, says: str) -> None:
    block = layout.pack_segment_header(SegmentHeader(b"s" * 16, 3, 40, 2, 39, 5000, 77, 99, 1))
    changed = block[:place] + value + block[place + 1 : -4]
    with pytest.raises(LayoutError, match=says):
        layout.unpack_segment_header(changed + zlib.crc32(changed).to_bytes(4, "little"))


# --- frames ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.binary(max_size=300), u32, u64, u32, st.integers(0, 255), u32, u64, u64)
def test_a_frame_comes_back(
    payload: bytes, salt: int, seq: int, number: int, kind: int, before: int, durable: int, wall_ms: int
) -> None:
    data, crc = pack(
        payload,
        salt,
        first_seq=seq,
        count=number,
        frame_type=kind,
        previous_crc=before,
        durable_seq=durable,
        wall_ms=wall_ms,
    )
    header = layout.unpack_frame_header(data, salt)
    assert len(data) == header.frame_bytes and len(data) % 8 == 0
    assert header._replace(header_check=0) == FrameHeader(
        crc, len(payload), seq, number, kind, 0, 1, before, 0, durable, wall_ms
    )
    assert header.end_seq == seq + number
    assert layout.frame_payload(header, data + b"what follows", salt) == payload


@settings(deadline=None)
@given(st.binary(max_size=120), u32, st.data())
def test_any_changed_byte_of_a_frame_is_seen(payload: bytes, salt: int, data: st.DataObject) -> None:
    frame, _ = pack(payload, salt)
    offset = data.draw(st.integers(0, len(frame) - 1))
    changed = bytearray(frame)
    changed[offset] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LayoutError):
        layout.frame_payload(layout.unpack_frame_header(bytes(changed), salt), bytes(changed), salt)
    for size in (0, 47, len(frame) - 1):
        with pytest.raises(LayoutError, match="cut off"):
            layout.frame_payload(layout.unpack_frame_header(frame[:size], salt), frame[:size], salt)


@settings(deadline=None)
@given(st.binary(max_size=120), u32, st.integers(1, 0xFFFFFFFF))
def test_a_frame_of_another_salt_does_not_read(payload: bytes, salt: int, difference: int) -> None:
    frame, _ = pack(payload, salt)
    with pytest.raises(LayoutError):
        layout.unpack_frame_header(frame, salt ^ difference)


@settings(deadline=None)
@given(st.binary(max_size=64), u32)
def test_any_bytes_for_a_frame_header(block: bytes, salt: int) -> None:
    with pytest.raises(LayoutError):
        layout.unpack_frame_header(block, salt)


@settings(deadline=None)
@given(st.lists(facts, min_size=1, max_size=8))
def test_payloads_are_plain_msgpack(batch: list[Fact]) -> None:
    payload = array_of([encode(fact) for fact in batch], len(batch))
    again = [KINDS[values[0]](*values[1:]) for values in msgpack.unpackb(payload)]
    assert again == batch == msgspec.msgpack.decode(payload, type=list[Fact])
    packed = msgpack.packb([[type(fact).__struct_config__.tag, *msgspec.structs.astuple(fact)] for fact in batch])
    assert msgspec.msgpack.decode(packed, type=list[Fact]) == batch


# --- the manifest ------------------------------------------------------------------------------------------------

entries = st.builds(SegmentEntry, u32, u32, u32, u32, u32)
snapshots = st.builds(SnapshotEntry, names, u32, u32, u32, names, u32)
manifests = st.builds(
    Manifest,
    st.just(1),
    names,
    moments,
    moments,
    st.lists(entries, max_size=4).map(tuple),
    st.lists(snapshots, max_size=2).map(tuple),
    moments,
    st.booleans(),
    moments,
)


@settings(deadline=None)
@given(manifest=manifests)
def test_a_manifest_comes_back(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> None:
    place = tmp_path_factory.mktemp("manifest")
    directory = OsDirectory(place)
    write_manifest(directory, manifest)
    assert read_manifest(directory) == (manifest, [])
    assert (place / "MANIFEST").read_bytes() == (place / "MANIFEST.copy").read_bytes()
    line, check, end = (place / "MANIFEST").read_bytes().split(b"\n")
    assert int(check, 16) == zlib.crc32(line) and end == b""
    directory.close()


MANIFEST = Manifest(1, "ab" * 16, 5, 6, (SegmentEntry(1, 1),), version=9)


def test_any_changed_byte_of_a_manifest_is_seen_and_the_copy_used(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path)
    write_manifest(directory, MANIFEST)
    whole = (tmp_path / "MANIFEST").read_bytes()
    for damaged in [*_changed(whole), *(whole[:size] for size in range(len(whole)))]:
        (tmp_path / "MANIFEST").write_bytes(damaged)
        manifest, remarks = read_manifest(directory)
        assert manifest == MANIFEST
        assert len(remarks) == 2 and remarks[0].startswith("MANIFEST: ") and "MANIFEST.copy was used" in remarks[1]
        (tmp_path / "MANIFEST.copy").write_bytes(damaged)
        with pytest.raises(ManifestError, match=r"MANIFEST: .*MANIFEST.copy: "):
            read_manifest(directory)
        (tmp_path / "MANIFEST.copy").write_bytes(whole)
    directory.close()


def test_a_missing_manifest_is_told_of(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path)
    assert read_manifest(directory) == (None, [])
    write_manifest(directory, MANIFEST)
    (tmp_path / "MANIFEST").unlink()
    manifest, remarks = read_manifest(directory)
    assert manifest == MANIFEST and "missing" in remarks[0]
    directory.close()


def test_a_newer_format_is_refused_even_if_the_copy_is_older(tmp_path: Path) -> None:
    directory = OsDirectory(tmp_path)
    write_manifest(directory, msgspec.structs.replace(MANIFEST, format=3))
    newer = (tmp_path / "MANIFEST").read_bytes()
    write_manifest(directory, MANIFEST)
    (tmp_path / "MANIFEST").write_bytes(newer)
    with pytest.raises(NewerFormat, match="format 3"):
        read_manifest(directory)
    directory.close()


class NoRoom(OsDirectory):
    """A directory in which writing to some files finds no room."""

    files: tuple[str, ...] = ()

    def open(self, name: str, *, create: bool = False, write: bool = False) -> OsFile:
        file = super().open(name, create=create, write=write)
        if name in self.files:
            file.write_at = no_room  # type: ignore[method-assign]
        return file


def no_room(offset: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_without_room_the_old_manifest_stays_and_nothing_else(tmp_path: Path) -> None:
    directory = NoRoom(tmp_path)
    write_manifest(directory, MANIFEST)
    directory.files = ("MANIFEST.tmp",)
    with pytest.raises(OSError, match="No space"):
        write_manifest(directory, MANIFEST.changed(version=10))
    assert read_manifest(directory) == (MANIFEST, [])
    assert directory.names() == ["MANIFEST", "MANIFEST.copy"]
    directory.close()


def test_without_room_for_the_copy_there_is_none_rather_than_an_old_one(tmp_path: Path) -> None:
    """The manifest counts by then: to say that it was not written would let the log go on where it does not look."""
    directory = NoRoom(tmp_path)
    write_manifest(directory, MANIFEST)
    directory.files = ("MANIFEST.copy.tmp",)
    after = MANIFEST.changed(version=10)
    write_manifest(directory, after)
    assert read_manifest(directory) == (after, [])
    assert directory.names() == ["MANIFEST"]
    directory.close()


@pytest.mark.parametrize("file", ["wal-0000000002.log.tmp", "MANIFEST.tmp"])
def test_without_room_a_rotation_leaves_nothing_behind(tmp_path: Path, file: str) -> None:
    directory = NoRoom(tmp_path)
    journal, _ = open_store(
        directory,
        lambda batch: None,
        sync_each=True,
        new_id=lambda: ("cd" * 16, 1),
        salts=lambda: 5,
        wall_ms=lambda: 1,
    )
    names = directory.names()
    directory.files = (file,)
    with pytest.raises(DiskFull):
        journal.rotate()
    assert directory.names() == names
    batch = array_of([encode(TextSet("user", "goes on", "", 0))], 1)
    journal.commit([(batch, 1)])
    journal.abandon()
    assert recovered(tmp_path)[0] == {"user": TextSet("user", "goes on", "", 0)}
    directory.close()


# --- snapshots ---------------------------------------------------------------------------------------------------


def store_with_two_snapshots(place: Path) -> list[Fact]:
    """A store whose state is in two snapshots and a log; gives what recovery has to find at the end."""
    directory = OsDirectory(place)
    salts = count(1)
    journal, _ = open_store(
        directory,
        lambda batch: None,
        sync_each=True,
        new_id=lambda: ("cd" * 16, 1),
        salts=lambda: next(salts),
        wall_ms=lambda: 1,
    )
    state: dict[str, Fact] = {}
    for number in range(9):
        fact = TextSet(f"user{number % 4}", f"text {number}", "", 0)
        journal.commit([(array_of([encode(fact)], 1), 1)])
        state[fact.user] = fact
        if number in (3, 6):
            writer = journal.begin_snapshot()
            writer.add(array_of([encode(one) for one in state.values()], len(state)), len(state))
            for _ in journal.finish_snapshot(writer, number):
                pass
    journal.seal()
    journal.abandon()
    directory.close()
    return list(state.values())


def test_a_snapshot_comes_back(tmp_path: Path) -> None:
    expected = store_with_two_snapshots(tmp_path)
    state, report = recovered(tmp_path)
    assert state == {fact.user: fact for fact in expected}
    assert report.snapshot == max(path.name for path in tmp_path.glob("snap-*"))
    assert not report.remarks


def recovered(place: Path) -> tuple[dict[str, Fact], Any]:
    directory = OsDirectory(place)
    state: dict[str, Fact] = {}
    try:
        report = recover(directory, lambda batch: state.update({fact.user: fact for fact in batch})).report
    finally:
        directory.close()
    return state, report


@pytest.mark.slow
def test_any_changed_byte_of_the_newest_snapshot_makes_the_one_before_it_count(tmp_path: Path) -> None:
    expected = store_with_two_snapshots(tmp_path)
    older, newest = sorted(tmp_path.glob("snap-*"))
    whole = newest.read_bytes()
    damaged = _changed(whole, every=1 if len(whole) < 1000 else 13)
    for data in [*damaged, *_changed(whole[4096:], before=whole[:4096]), whole[:-1], whole + b"\0", b""]:
        newest.write_bytes(data)
        state, report = recovered(tmp_path)
        assert state == {fact.user: fact for fact in expected}
        assert report.snapshot == older.name
        assert any(newest.name in remark for remark in report.remarks)
    older.write_bytes(b"")
    with pytest.raises(DamageError, match="no snapshot can be used") as caught:
        recovered(tmp_path)
    assert str(caught.value).count("going back to the one before") == 1, "behind the older there is none"


def test_without_a_manifest_any_changed_byte_of_a_snapshot_is_seen_too(tmp_path: Path) -> None:
    store_with_two_snapshots(tmp_path)
    directory = OsDirectory(tmp_path)
    listed = survey(directory).manifest.snapshots
    for path in tmp_path.glob("MANIFEST*"):
        path.unlink()
    assert [(entry, "") for entry in listed] == list(survey(directory).snapshots)
    _, newest = sorted(tmp_path.glob("snap-*"))
    whole = newest.read_bytes()
    sizes = range(4096, len(whole), 8)
    for data in [*_changed(whole[4096:], before=whole[:4096]), *(whole[:size] for size in sizes)]:
        newest.write_bytes(data)
        assert survey(directory).snapshots[0][1], "taken for whole"
    directory.close()


def test_verifying_names_the_difference(tmp_path: Path) -> None:
    store_with_two_snapshots(tmp_path)
    directory = OsDirectory(tmp_path)
    entry = survey(directory).manifest.snapshots[0]
    verify_snapshot(directory, entry)
    with pytest.raises(SnapshotError, match="should have"):
        verify_snapshot(directory, msgspec.structs.replace(entry, bytes=entry.bytes + 1))
    with pytest.raises(SnapshotError, match="digest"):
        verify_snapshot(directory, msgspec.structs.replace(entry, digest="00"))
    with pytest.raises(SnapshotError, match="missing"):
        verify_snapshot(directory, msgspec.structs.replace(entry, name="snap-0000000099.prs"))
    directory.close()


def _changed(data: bytes, *, every: int = 1, before: bytes = b"") -> list[bytes]:
    """`data` with one bit of each byte flipped in turn."""
    changed = []
    for offset in range(0, len(data), every):
        one = bytearray(data)
        one[offset] ^= 1 << offset % 8
        changed.append(before + bytes(one))
    return changed
