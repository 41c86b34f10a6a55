"""Reads whom a certificate is for and when it is valid, so that an operator can be told.

The standard library reads only the certificates of peers that it trusts, so it cannot read one that has expired. This
module reads the few fields it needs from the DER form (X.690; RFC 5280, 4.1). OpenSSL decides whether the certificate
can be used.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import time
from datetime import UTC, datetime
from typing import NamedTuple

from presenced.config.files import UnusableFile, read_regular

FILE_BYTES_MAX = 1 << 20
DAY_S = 86_400
SOON_S = 14 * DAY_S
"""A warning is given if the certificate ends within this time."""

NAMES_SHOWN_MAX = 5

_PEM = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----\s+(.+?)-----END ", re.DOTALL)
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION, _EXTENSIONS = 0x30, 0x17, 0x18, 0xA0, 0xA3
_ALTERNATIVE_NAMES, _COMMON_NAME = b"\x55\x1d\x11", b"\x55\x04\x03"
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87


class Certificate(NamedTuple):
    """The first certificate of a file, which is the server's own."""

    path: str
    digest: str
    """SHA-256, in hexadecimal digits."""
    begins_s: int
    ends_s: int
    """Seconds of the Unix clock."""
    names: tuple[str, ...]

    def describe(self, now_s: float | None = None) -> str:
        """`for example.org until 2027-01-31 12:00 UTC (in 63 days)`."""
        until = datetime.fromtimestamp(self.ends_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        left_s = self.ends_s - (time.time() if now_s is None else now_s)
        when = _in_days(left_s) if left_s > 0 else "it has expired"
        names = ", ".join(self.names[:NAMES_SHOWN_MAX]) or "no name"
        more = len(self.names) - NAMES_SHOWN_MAX
        return f"for {names}{f' and {more} more' if more > 0 else ''} until {until} ({when})"

    def warning(self, now_s: float | None = None) -> str:
        """A sentence if the certificate has expired, expires within two weeks, or is not valid yet; else ""."""
        now_s = time.time() if now_s is None else now_s
        if now_s >= self.ends_s:
            return f"the certificate {self.path} has expired, and clients refuse it; renew it, then reload"
        if now_s < self.begins_s:
            return f"the certificate {self.path} is not valid yet, and clients refuse it; check this machine's clock"
        left_s = self.ends_s - now_s
        if left_s > SOON_S:
            return ""
        return f"the certificate {self.path} expires {_in_days(left_s)}; renew it, then reload"


def _in_days(left_s: float) -> str:
    """How long that is in whole days: each place says the same number."""
    days = int(left_s // DAY_S)
    return f"in {days} day{'' if days == 1 else 's'}" if days else "in less than a day"


def read_certificate(path: str) -> Certificate | None:
    """The first certificate of a PEM file; None if this module cannot read one there. Takes 0.1 ms."""
    try:
        return parse_certificate(path, read_regular(path, FILE_BYTES_MAX))
    except (OSError, ValueError, UnusableFile):
        return None


def parse_certificate(path: str, content: bytes) -> Certificate | None:
    """The first certificate in `content`, which was read from the file at `path`; else None."""
    found = _PEM.search(content)
    if found is None:
        return None
    try:
        der = base64.b64decode(found[1])
        begins_s, ends_s, names = _fields(der)
    except (ValueError, IndexError, OverflowError):
        return None
    return Certificate(path, hashlib.sha256(der).hexdigest(), begins_s, ends_s, names)


# --- DER ----------------------------------------------------------------------------------------------------------


class _Item(NamedTuple):
    tag: int
    content: bytes


def _items(data: bytes) -> list[_Item]:
    """The DER items in `data`, one after the other. Raises `ValueError` or `IndexError` if one is cut off."""
    items, at = [], 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            raise ValueError("an item is cut off")
        items.append(_Item(tag, data[at : at + length]))
        at += length
    return items


def _fields(der: bytes) -> tuple[int, int, tuple[str, ...]]:
    signed = _items(_items(der)[0].content)[0]
    fields = _items(signed.content)
    if fields[0].tag == _VERSION:
        del fields[0]
    _serial, _algorithm, _issuer, validity, subject, *rest = fields
    begins, ends = _items(validity.content)
    extensions = next((item.content for item in rest if item.tag == _EXTENSIONS), b"")
    return _seconds(begins), _seconds(ends), _alternative_names(extensions) or _common_names(subject.content)


def _seconds(item: _Item) -> int:
    text = item.content.decode("ascii")
    if item.tag == _UTC_TIME:
        # RFC 5280, 4.1.2.5.1: two digits mean a year from 1950 to 2049.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif item.tag != _GENERALIZED_TIME:
        raise ValueError("the item is not a time")
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())


def _alternative_names(extensions: bytes) -> tuple[str, ...]:
    for sequence in _items(extensions):
        for extension in _items(sequence.content):
            parts = _items(extension.content)
            if parts[0].content == _ALTERNATIVE_NAMES:
                return tuple(_names(_items(parts[-1].content)[0].content))
    return ()


def _names(alternatives: bytes) -> list[str]:
    names = []
    for item in _items(alternatives):
        if item.tag == _DNS_NAME:
            names.append(item.content.decode("ascii"))
        elif item.tag == _IP_ADDRESS:
            names.append(str(ipaddress.ip_address(item.content)))
    return names


def _common_names(subject: bytes) -> tuple[str, ...]:
    pairs = [_items(pair.content) for group in _items(subject) for pair in _items(group.content)]
    return tuple(value.content.decode("utf-8", "replace") for kind, value in pairs if kind.content == _COMMON_NAME)
