"""What `contacts import` reads: the lists of a file, or the line that is wrong."""

from __future__ import annotations

import io

import pytest

from presenced.cli import contact_import
from presenced.cli.contact_import import ImportedList, imported
from presenced.errors import AddressError
from presenced.wire.messages import ContactEntry


def read(text: str | bytes) -> list[ImportedList]:
    data = text.encode() if isinstance(text, str) else text
    return list(imported(io.BytesIO(data), len(data)))


def test_json_lines() -> None:
    lists = read(
        '\n{"user": "alice", "contacts": ["bob", {"contact": "carol", "subscription": "to", "name": "Carol Ü.",'
        ' "groups": ["work"]}]}\n\n{"user": "bob", "contacts": []}\n'
    )
    assert [(one.user, one.contacts, one.line) for one in lists] == [
        ("alice", [ContactEntry("bob"), ContactEntry("carol", "to", "Carol Ü.", ["work"])], 2),
        ("bob", [], 4),
    ]
    assert 0 < lists[0].share < lists[1].share <= 1


def test_a_pair_in_csv_is_in_both_lists_whatever_the_order() -> None:
    """A list that leaves out who named its user would take that user's list apart again."""
    text = '\ufeffuser,contact\nalice,bob\n\n"carol", alice\nbob,dora\nalice,bob\n'
    lists = {one.user: ([entry.contact for entry in one.contacts], one.line) for one in read(text)}
    assert lists == {"alice": (["bob", "carol"], 2), "carol": (["alice"], 4), "bob": (["alice", "dora"], 5)}
    assert {entry.subscription for one in read(text) for entry in one.contacts} == {"both"}


@pytest.mark.parametrize("text", ["", "\n\n", "user,contact\n"])
def test_nothing(text: str) -> None:
    assert read(text) == []


GOOD = '{"user": "alice", "contacts": []}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + '{"user": "bob"}', "line 2 is wrong: .*missing required field `contacts`"),
        (GOOD + '{"user": "bob", "contacts": ["a b"]}', "line 2 is wrong: .*a space"),
        (GOOD + '{"user": "", "contacts": []}', "line 2 is wrong: the user name is empty"),
        (GOOD + '{"user": "bob", "contacts": [{"contact": "x", "subscription": "all"}]}', "line 2 .*'all'"),
        (GOOD + '{"user": "bob", "contacts": [{"contact": "x", "group": "y"}]}', "line 2 .*unknown field `group`"),
        (GOOD + '{"user": "bob", "contacts": [', "line 2 is wrong: .*truncated"),
        (GOOD + "\nbob,carol", "line 3 is wrong"),
        ("alice,bob\nalice", "line 2 has 1 column; write user,contact, or JSON lines"),
        ("alice,bob\nalice,bob,both", "line 2 has 3 columns"),
        ("alice,bob\nalice,b/c", "line 2 is wrong: .*a slash"),
        ("alice,bob\nalice,alice", "line 2 makes alice a contact of their own"),
        ("alice,bob\n" + "x" * 200_000 + ",b", "line 2 is no CSV: field larger"),
        (b"alice,bob\nalice,b\xff", "line 2 is not UTF-8"),
    ],
)
def test_the_line_that_is_wrong_is_named(text: str | bytes, words: str) -> None:
    with pytest.raises(AddressError, match=words):
        read(text)


def test_a_line_without_an_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_import, "LINE_BYTES_MAX", 100)
    with pytest.raises(AddressError, match="line 2 is longer than 100 bytes"):
        read("alice,bob\n" + "x" * 1000)
