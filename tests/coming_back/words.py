"""What coming back promises, in the words of protocol.md and as plainly: what the clever code is held against.

Nothing here knows the server. A digest is made bit by bit, a checksum by adding up, and what an answer has to hold is
found by going through all that is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from presenced.wire.messages import Record

CRC_POLYNOMIAL = 0xEDB88320
DIGESTS = 1 << 32
NOTHING = ("offline", "", "", 0, 0, "")
"""What is said of a name never seen. Also of somebody who is offline and keeps all else to themselves."""


def crc_32(data: bytes) -> int:
    """The CRC-32 of ISO 3309, one bit after the other."""
    rest = DIGESTS - 1
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ CRC_POLYNOMIAL if rest & 1 else rest >> 1
    return rest ^ (DIGESTS - 1)


def digest_of(record: Record | None) -> int:
    """What a client has of a user, as a number; 0 = nothing, or what is said of a name never seen."""
    if record is None:
        return 0
    if (record.status, record.text, record.emoji, record.since_ms, record.last_seen_ms, record.device) == NOTHING:
        return 0
    contents = (
        record.user,
        record.status,
        record.text,
        record.emoji,
        f"{record.since_ms}",
        f"{record.last_seen_ms}",
        record.device,
    )
    return crc_32("\0".join(contents).encode()) or 1


def checksum_of(records: Iterable[Record]) -> int:
    """Of a view: each user once."""
    return sum(digest_of(record) for record in records) % DIGESTS


def differing(names: Sequence[str], have: Sequence[int], shown: Mapping[str, Record]) -> list[Record]:
    """What is answered to a client that names these users with what it has of each: in the order of the names those
    that it is shown otherwise."""
    assert len(names) == len(have)
    return [shown[name] for name, had in zip(names, have, strict=True) if digest_of(shown[name]) != had]


def left_over(named: Iterable[str], watched: Iterable[str], shown: Mapping[str, Record]) -> list[Record]:
    """What the last page of a comparison has besides: who is watched, was named on no page, and is known of."""
    named = set(named)
    return [shown[name] for name in watched if name not in named and digest_of(shown[name])]


class PageNews(NamedTuple):
    """What a watcher of a channel is told that has its members already."""

    records: list[Record]
    left: list[str]


def page_news(users: Sequence[str], have: Sequence[int], page: Sequence[Record]) -> PageNews:
    """`page`: the one that the link would be sent if it had nothing."""
    had = dict(zip(users, have, strict=True))
    on_it = {record.user for record in page}
    return PageNews(
        [record for record in page if digest_of(record) != had.get(record.user, 0)],
        [name for name in users if name not in on_it],
    )
