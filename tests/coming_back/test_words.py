"""The oracle's digests, made bit by bit, are those of the server; and towns would notice if they were not."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given, strategies as st

from presenced.digests import digest
from presenced.wire.messages import Record
from tests.coming_back.words import checksum_of, crc_32, digest_of
from tests.wire.strategies import messages_of


@given(st.binary(max_size=64))
def test_the_crc_is_that_of_the_standard(data: bytes) -> None:
    assert crc_32(data) == crc32(data)


@given(st.lists(messages_of(Record), max_size=3))
def test_both_sides_make_the_same_of_any_record(records: list[Record]) -> None:
    known = [record for record in records if record.version]
    assert [digest(record) for record in known] == [digest_of(record) for record in known]
    assert checksum_of(known) == sum(map(digest, known)) & 0xFFFF_FFFF
