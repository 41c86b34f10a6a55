"""A connection inside the process behaves as asyncio's own: what is told to a protocol, and when."""

from __future__ import annotations

import asyncio

from presenced.testing.pipe import Pipe, connect_pipes


class Ear(asyncio.Protocol):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.came = b""

    def data_received(self, data: bytes) -> None:
        self.came += data

    def eof_received(self) -> None:
        self.told.append("eof")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(f"lost {type(exc).__name__}" if exc else "lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


def connected() -> tuple[Ear, Pipe, Ear, Pipe]:
    near, far = Ear(), Ear()
    near_end, far_end = connect_pipes(asyncio.get_running_loop(), near, far)
    return near, near_end, far, far_end


async def passes() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_written_arrives_whole_and_in_order() -> None:
    _, near_end, far, far_end = connected()
    near_end.write(b"one ")
    near_end.write(bytearray(b"two "))
    assert far.came == b"", "not inside of the call"
    await passes()
    near_end.writelines([b"three", b"", b" four"])
    await passes()
    assert far.came == b"one two three four"
    assert (near_end.get_write_buffer_size(), far_end.is_reading()) == (0, True)


async def test_a_peer_that_does_not_read_makes_the_writer_pause() -> None:
    near, near_end, far, far_end = connected()
    near_end.set_write_buffer_limits(high=10)
    far_end.pause_reading()
    near_end.write(b"x" * 10)
    assert near.told == []
    near_end.write(b"x")
    await passes()
    assert (near.told, near_end.get_write_buffer_size(), far.came) == (["pause"], 11, b"")
    far_end.resume_reading()
    await passes()
    assert (near.told, far.came) == (["pause", "resume"], b"x" * 11)


async def test_closing_says_all_that_was_written_first() -> None:
    near, near_end, far, far_end = connected()
    far_end.pause_reading()
    near_end.write(b"last")
    near_end.close()
    near_end.write(b"too late")
    await passes()
    assert near_end.is_closing() and near.told == []
    far_end.resume_reading()
    await passes()
    assert (near.told, far.told, far.came) == (["lost"], ["eof", "lost"], b"last")


async def test_aborting_drops_what_is_under_way() -> None:
    near, near_end, far, _ = connected()
    near_end.write(b"dropped")
    near_end.abort()
    near_end.abort()
    await passes()
    assert (near.told, far.told, far.came) == (["lost"], ["eof", "lost"], b"")


async def test_a_network_that_breaks_is_told_to_both() -> None:
    near, near_end, far, _ = connected()
    near_end.break_off()
    await passes()
    assert near.told == far.told == ["lost ConnectionResetError"]
