"""What a client has of a user, in one number; protocol.md gives the vectors."""

from __future__ import annotations

import json
from zlib import crc32

import msgspec
import pytest
from hypothesis import given

from presenced.digests import NOTHING, digest
from presenced.wire.messages import Record
from tests.docs.document import SECTIONS, table
from tests.wire.strategies import messages_of

BOB = Record("bob", "dnd", "in a meeting", "📅", 1767225600000, 0, "phone", 82)

NEVER_SEEN = ["offline", "", "", 0, 0, ""]

OTHERS = {
    "user": "bo",
    "status": "xa",
    "text": "in a meeting ",
    "emoji": "",
    "since_ms": 1767225600001,
    "last_seen_ms": 1,
    "device": "phone2",
}


@pytest.mark.parametrize("row", table(SECTIONS["6.6"].body, "record"), ids=lambda row: row["digest"])
def test_the_vectors_of_the_protocol(row: dict[str, str]) -> None:
    assert digest(Record(*json.loads(row["record"].strip("`")))) == int(row["digest"])


@pytest.mark.parametrize("field", OTHERS)
def test_each_field_counts(field: str) -> None:
    assert digest(msgspec.structs.replace(BOB, **{field: OTHERS[field]})) != digest(BOB)


def test_fields_do_not_run_into_each_other() -> None:
    moved = msgspec.structs.replace(BOB, text="in a meeting📅", emoji="")
    assert digest(moved) != digest(BOB)


@given(messages_of(Record))
def test_it_is_that_of_the_words_joined(record: Record) -> None:
    """Against the sentence of the protocol, word by word."""
    *contents, version = msgspec.structs.astuple(record)
    words = crc32("\0".join([str(value) for value in contents]).encode())
    assert digest(record) == ((words or 1) if version and contents[1:] != NEVER_SEEN else NOTHING)


def test_who_keeps_all_to_themselves_and_is_offline_is_as_a_name_never_seen() -> None:
    assert digest(Record("bob", "offline", "", "", 0, 0, "", 82)) == NOTHING
    assert digest(Record("bob", "online", "", "", 0, 0, "", 82)) != NOTHING


@given(messages_of(Record).filter(lambda record: record.status != "offline"))
def test_the_version_says_only_whether_anything_is_known(record: Record) -> None:
    known = msgspec.structs.replace(record, version=1)
    assert digest(known) == digest(msgspec.structs.replace(record, version=2)) != NOTHING
    assert digest(msgspec.structs.replace(record, version=0)) == NOTHING
