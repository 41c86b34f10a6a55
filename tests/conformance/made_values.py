"""Values that clients compute: digests of records, sums of them, times; and what names, lines and URLs are accepted."""

from __future__ import annotations

import ast
import unicodedata
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from tests.docs.document import SECTIONS, table

Case = dict[str, Any]
Row = list[Any]


def digests() -> Iterator[Case]:
    documented = table(SECTIONS["6.6"].body, "record")
    for number, row in enumerate(documented, 1):
        record = ast.literal_eval(row["record"].strip("`"))
        yield {"name": f"row {number} of the table", **_digest(record), "digest": int(row["digest"])}
    for name, record in RECORDS:
        yield {"name": name, **_digest(record)}


def _digest(record: Row) -> Case:
    return {"section": "6.6", "record": record, "digest": digest(record)}


def digest(record: Row) -> int:
    """Section 6.6, word by word."""
    if record[7] == 0 or record[1:7] == ["offline", "", "", 0, 0, ""]:
        return 0
    return crc32("\0".join(map(str, record[:7])).encode()) or 1


NOW = 1767225600000

RECORDS: list[tuple[str, Row]] = [
    ("online, and nothing else", ["bob", "online", "", "", NOW, 0, "phone", 80]),
    ("a name that needs three bytes a character", ["日本語", "chat", "こんにちは", "🗾", NOW, 0, "タブ", 3]),
    ("characters beyond the first plane", ["bob", "online", "𝄞 🏳️‍🌈 🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👨‍👩‍👧", NOW, 0, "phone", 5]),
    ("a text in another form than NFC", ["bob", "online", "e\u0301", "", NOW, 0, "phone", 6]),
    ("times at their bound", ["bob", "offline", "", "", 2**53, 2**53, "", 7]),
    ("offline with a text", ["bob", "offline", "on holiday", "", 0, 0, "", 8]),
    ("offline with an emoji", ["bob", "offline", "", "🌴", 0, 0, "", 8]),
    ("offline since a time", ["bob", "offline", "", "", 1, 0, "", 8]),
    ("offline, last seen at a time", ["bob", "offline", "", "", 0, 1, "", 8]),
    ("version 0, whatever it says", ["bob", "online", "hi", "", NOW, 0, "phone", 0]),
    ("a text of 512 bytes", ["bob", "xa", "x" * 512, "", NOW, 0, "phone", 9]),
    ("a text that holds what separates numbers", ["bob", "dnd", "0 0\u20080", "", NOW, 0, "0", 9]),
]


def checksums() -> Iterator[Case]:
    rows = [record for _, record in RECORDS]
    for name, some in (("nobody", []), ("one", rows[:1]), ("two", rows[:2]), ("all of these, beyond 2^32", rows)):
        total = sum(map(digest, some)) % 2**32
        yield {"name": name, "section": "22.2", "records": some, "users": len(some), "checksum": total}


def times() -> Iterator[Case]:
    """Waiting times are random: each has bounds. `attempt` counts from 0 after a link that was open for long."""
    for attempt in range(12):
        most_ms = min(20_000, 100 * 2**attempt)
        name = f"attempt {attempt}"
        yield {"name": name, "section": "10", "attempt": attempt, "retry_ms": 0, "least_ms": 0, "most_ms": most_ms}
    for attempt, retry_ms in ((0, 1500), (3, 300), (0, 60_000), (9, 5000)):
        name = f"attempt {attempt} with advice of {retry_ms} ms"
        case = {"name": name, "section": "10", "attempt": attempt, "retry_ms": retry_ms}
        yield case | {"least_ms": retry_ms, "most_ms": None}
    for left_ms in (10_000, 3_600_000, 86_400_000):
        name = f"a token that ends in {left_ms} ms is renewed"
        yield {
            "name": name,
            "section": "10",
            "left_ms": left_ms,
            "least_ms": left_ms * 8 // 10,
            "most_ms": left_ms * 9 // 10,
        }


def texts() -> Iterator[Case]:
    """Section 1.2: what may be a name, and what a line of text. Both of at most 128 bytes here, but for two."""
    for name, text, is_name, is_line in TEXTS:
        yield {"name": name, "section": "1.2", "text": text, "is_name": is_name, "is_line": is_line}


TEXTS: list[tuple[str, str, bool, bool]] = [
    ("small letters", "alice", True, True),
    ("an address", "alice@example.com", True, True),
    ("letters of other scripts", "Ωmega-日本-ёж", True, True),
    ("one byte", "a", True, True),
    ("128 bytes", "a" * 128, True, True),
    ("129 bytes", "a" * 129, False, True),
    ("128 bytes in 64 characters", "é" * 64, True, True),
    ("130 bytes in 65 characters", "é" * 65, False, True),
    ("512 bytes", "a" * 512, False, True),
    ("513 bytes", "a" * 513, False, False),
    ("empty", "", False, True),
    ("a space inside", "al ice", False, True),
    ("a slash", "al/ice", False, True),
    ("a no-break space", "al\u00a0ice", False, True),
    ("a line break", "al\nice", False, False),
    ("a tab", "al\tice", False, False),
    ("NUL", "al\x00ice", False, False),
    ("DEL", "al\x7fice", False, False),
    ("a line separator", "al\u2028ice", False, False),
    ("private use", "al\ue000ice", False, False),
    ("a noncharacter", "al\ufdd0ice", False, False),
    ("a character that is not assigned", "al\u0378ice", False, True),
    ("not in NFC", "cafe\u0301", False, True),
    ("in NFC", unicodedata.normalize("NFC", "cafe\u0301"), True, True),
    ("a soft hyphen", "al\u00adice", False, True),
    ("a zero-width joiner", "al\u200dice", False, True),
    ("a zero-width space", "al\u200bice", False, False),
    ("a byte-order mark", "al\ufeffice", False, False),
    ("a variation selector", "al\ufe0fice", False, True),
    ("a mark of writing direction", "al\u200fice", False, True),
    ("an isolate that is ended", "al\u2067ice\u2069", False, True),
    ("an isolate that is not ended", "al\u2067ice", False, False),
    ("an override of writing direction", "al\u202eice", False, False),
    (
        "the flag of a part of a country",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        False,
        True,
    ),
    ("a tag outside a flag", "al\U000e0061ice", False, False),
    ("an annotation", "al\ufff9ice", False, False),
    ("the empty Braille pattern", "al\u2800ice", False, True),
    ("an emoji", "🦊", True, True),
]


def urls() -> Iterator[Case]:
    """Section 1.1."""
    for name, url, parts in URLS:
        owed = {"is_refused": True} if parts is None else {"is_refused": False, "parts": PLAIN | parts}
        yield {"name": name, "section": "1.1", "url": url, **owed}


PLAIN: dict[str, Any] = {"tls": False, "user": "", "token": "", "host": "", "port": 5250, "device": ""}
PLAIN |= {"kind": "", "name": "", "priority": 0}

LAPTOP = {"user": "alice", "host": "h.example", "device": "laptop"}

URLS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("the shortest of a device", "presence://alice@h.example/laptop", LAPTOP),
    ("with a port", "presence://alice@h.example:6000/laptop", LAPTOP | {"port": 6000}),
    ("with TLS", "presences://alice@h.example/laptop", LAPTOP | {"tls": True}),
    ("with a token", "presence://alice:a.b.c@h.example/laptop", LAPTOP | {"token": "a.b.c"}),
    ("an @ in the user", "presence://a%40b@h.example/laptop", LAPTOP | {"user": "a@b"}),
    ("a service", "presence://chat@h.example", {"user": "chat", "host": "h.example"}),
    (
        "with every parameter",
        "presence://alice@h.example/laptop?kind=web&name=Alice%27s%20tab&priority=-5",
        LAPTOP | {"kind": "web", "name": "Alice's tab", "priority": -5},
    ),
    ("an IPv6 address", "presence://alice@[2001:db8::7]:5250/laptop", LAPTOP | {"host": "2001:db8::7"}),
    ("an IPv6 address with a zone", "presence://alice@[fe80::1%25eth0]/laptop", LAPTOP | {"host": "fe80::1%eth0"}),
    ("another scheme", "http://alice@h.example/laptop", None),
    ("no scheme", "alice@h.example/laptop", None),
    ("an unknown parameter", "presence://alice@h.example/laptop?colour=red", None),
    ("a parameter twice", "presence://alice@h.example/laptop?kind=a&kind=b", None),
    ("a parameter without =", "presence://alice@h.example/laptop?kind", None),
    ("a fragment", "presence://alice@h.example/laptop#top", None),
    ("a space", "presence://al ice@h.example/laptop", None),
    ("a line break", "presence://alice@h.example/lap\ntop", None),
    ("a % without two hex digits", "presence://al%4ice@h.example/laptop", None),
    ("two @", "presence://alice@evil.example@h.example/laptop", None),
    ("an @ behind the host", "presence://alice@h.example/lap@top", None),
    ("a port that is none", "presence://alice@h.example:70000/laptop", None),
    ("a priority out of range", "presence://alice@h.example/laptop?priority=128", None),
    ("no host", "presence://alice@/laptop", None),
]
