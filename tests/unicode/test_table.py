"""The tables of characters against Unicode's own data, and the rules that go by them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from presenced import unicode_table
from presenced.address import check_emoji, check_name, check_text
from presenced.characters import REPLACED, printable, refused_in_line, refused_in_name
from tests.unicode import make_table

PROTOCOL = Path(__file__).parents[2] / "protocol.md"

IGNORABLE = (
    (0x00AD, 0x00AD), (0x034F, 0x034F), (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Default_Ignorable_Code_Point, as DerivedCoreProperties.txt has had it since Unicode 4.1 but for U+180F."""


def is_in(table: tuple[int, ...], point: int) -> bool:
    return sum(edge <= point for edge in table) % 2 == 1


def test_no_name_holds_what_is_ignored_when_it_is_drawn() -> None:
    for first, last in IGNORABLE:
        for point in (first, (first + last) // 2, last):
            assert refused_in_name(f"a{chr(point)}"), f"U+{point:04X}"


@pytest.mark.parametrize("table", [unicode_table.NOT_IN_NAMES, unicode_table.NOT_IN_LINES])
def test_a_table_rises_and_ends(table: tuple[int, ...]) -> None:
    assert list(table) == sorted(set(table)) and len(table) % 2 == 0 and table[-1] == 0x110000


def test_protocol_md_names_the_version() -> None:
    version = unicode_table.UNICODE_VERSION.removesuffix(".0")
    assert f"Unicode {version}" in PROTOCOL.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tables_are_those_that_the_newest_data_give() -> None:
    unicodedata2 = pytest.importorskip("unicodedata2", reason="the newest data are a package that only making needs")
    pytest.importorskip("regex", reason="the newest data are a package that only making needs")
    if unicodedata2.unidata_version != unicode_table.UNICODE_VERSION:
        pytest.skip("the package has the data of another Unicode than the tables were made from")
    if unicodedata.unidata_version != make_table.OLDEST:
        pytest.skip("the tables are made by the oldest interpreter, whose own data tell what is younger")
    made = make_table.made()
    assert tuple(made["NOT_IN_NAMES"]) == unicode_table.NOT_IN_NAMES
    assert tuple(made["NOT_IN_LINES"]) == unicode_table.NOT_IN_LINES


def test_every_interpreter_normalises_every_name_as_the_newest_data_say() -> None:
    newest = pytest.importorskip("unicodedata2", reason="the newest data are a package that only making needs")
    firsts = "aA\u0915\u1100\uac00\u0c46"
    for point in range(0x110000):
        character = chr(point)
        if refused_in_name(character):
            continue
        for first in ("", *firsts) if newest.combining(character) else ("",):
            text = first + character
            assert unicodedata.normalize("NFC", text) == newest.normalize("NFC", text), f"U+{point:04X}"


def test_a_table_is_looked_up_by_its_edges() -> None:
    for point in (0, 0x20, 0x21, 0x7E, 0x7F, 0xA0, 0xA1, 0xAD, 0x378, 0x10FFFF):
        assert bool(refused_in_name(chr(point))) == is_in(unicode_table.NOT_IN_NAMES, point)
        assert bool(refused_in_line(chr(point))) == is_in(unicode_table.NOT_IN_LINES, point)


@pytest.mark.parametrize(
    "text", ["a\u00a0b\u3000c", "\u0645\u06cc\u200c\u062e", "\U0001fae8 \u0378", "\u2067\u05d0\u2069", "co\u00adop"]
)
def test_what_is_taken_is_printed_as_it_is(text: str) -> None:
    check_text(text)
    check_emoji(text)
    assert printable(text) == text


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert printable("\x1b[2J\u202ea\u2066b\n") == f"{REPLACED}[2J{REPLACED}a{REPLACED}b{REPLACED}"
    assert printable("\U0001f3f4\U000e0067") == "\U0001f3f4" + REPLACED


def test_a_name_may_hold_letters_younger_than_the_interpreter() -> None:
    check_name("\U00031350\U0001fae8", "user")
