"""What a client has of a user, in one number: the digest of a record's contents (protocol.md, section 6.6).

Server and client compute the same number from the same record, so that a client says what it has by digests and is
answered by what differs. The version is not in it: it says when something changed, and means nothing to another link.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from presenced.wire.messages import Record

NOTHING: Final = 0
"""The digest of a record that says nothing, and of no record at all."""


def digest(record: Record) -> int:
    """The digest of what the record says, from 0 to 2^32 - 1; 0 if it says what is said of a name never seen, whatever
    its version: nobody is told when the one takes the place of the other. Pure. About 1 us."""
    if not record.version or _says_nothing(record):
        return NOTHING
    contents = (
        f"{record.user}\0{record.status}\0{record.text}\0{record.emoji}\0"
        f"{record.since_ms}\0{record.last_seen_ms}\0{record.device}"
    )
    # 0 means that there is nothing, so that contents never have it.
    return crc32(contents.encode()) or 1


def _says_nothing(record: Record) -> bool:
    """Of somebody who is offline, and keeps all else to themselves or has never said it."""
    if record.status != "offline" or record.text or record.emoji or record.device:
        return False
    return not record.since_ms and not record.last_seen_ms
