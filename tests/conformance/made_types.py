"""The tables of protocol.md for programs: every type of message, and every value that travels inside one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.fields import CLIENT_TYPES, REQUIRED, Field, fields_of
from tests.docs.document import DOCUMENTED, SECTIONS, table

Case = dict[str, Any]


def types() -> Iterator[Case]:
    answers = {row["name"]: row["answered by"] for row in table(SECTIONS["5"].body, "type")}
    for name, (section, number) in DOCUMENTED.items():
        fields = [_plain(field) for field in fields_of(section)]
        case: Case = {"name": name, "section": section, "number": number, "sender": None, "answer": None}
        if number is not None:
            case["sender"] = "client" if number in CLIENT_TYPES else "server"
            first = answers[name].partition(",")[0]
            case["answer"] = first if first in DOCUMENTED else None
        yield case | {"fields": fields}


def _plain(field: Field) -> Case:
    found: Case = {"name": field.name, "type": field.type}
    if field.default is not REQUIRED:
        found["default"] = field.default
    return found
