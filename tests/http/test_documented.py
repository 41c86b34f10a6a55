"""Holds section 25 of protocol.md against the code, and what it says by example against a server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import inspect

from presenced.errors import CODES
from presenced.http.api.codes import HTTP_CODES, status_of
from presenced.http.api.requests import ELSEWHERE, NAMES, REQUESTS
from tests.docs.document import SECTIONS, default_words, limit_words, table, tables, type_words


def words(cell: str) -> list[str]:
    return cell.replace("`", "").replace(",", " ").split()


def test_names() -> None:
    rows = {row["name"].strip("`"): row["message"] for row in table(SECTIONS["25.1"].body, "name")}
    assert {name: message for name, message in rows.items() if ":" not in message} == {
        name: message.__name__ for message, name in NAMES.items()
    }
    assert rows.keys() - NAMES.values() == {"beat", "acknowledge"}


def test_what_is_not_over_http() -> None:
    rows = table(SECTIONS["25.1"].body, "not over HTTP")
    named = [name for row in rows for name in words(row["not over HTTP"])]
    assert sorted([*named, "Acknowledge"]) == sorted(message.__name__ for message in ELSEWHERE)


def test_status_of_codes() -> None:
    rows = {int(row["status"]): row["codes"] for row in table(SECTIONS["25.3"].body, "status")}
    for code in (*CODES, *HTTP_CODES):
        status = status_of(code)
        assert status == 400 or code in words(rows[status]), code
    listed = [code for status, cell in rows.items() if status != 400 for code in words(cell)]
    assert len(listed) == len(set(listed))
    assert {code: status_of(code) for code in listed} == {
        code: status for status, cell in rows.items() if status != 400 for code in words(cell)
    }


def test_codes_of_http_alone() -> None:
    rows = table(SECTIONS["25.3"].body, "code")
    said = {row["code"].strip("`"): (row["temporary?"] == "yes", row["meaning"]) for row in rows}
    assert said == {code: (temporary, meaning) for code, (_, temporary, meaning) in HTTP_CODES.items()}


LIMITS = {"user": "name", "device": "name", "focus": "name or empty", "name": "name", "id": ""}


@pytest.mark.parametrize(("name", "section"), [("beat", "25.4"), ("acknowledge", "25.5")])
def test_requests_that_are_no_message(name: str, section: str) -> None:
    rows = next(one for one in tables(SECTIONS[section].body) if "field" in one[0])
    info: Any = inspect.type_info(REQUESTS[name].form)
    assert isinstance(info, inspect.StructType)
    assert [row["field"].strip("`") for row in rows] == list(REQUESTS[name].form.__struct_fields__)
    for row, field in zip(rows, info.fields, strict=True):
        assert row["type"] == type_words(field.type)
        assert row["default"] == default_words(field)
        limit = LIMITS[field.name] if field.name in LIMITS else limit_words("", field.name, field.type)
        assert row["limit"] == limit


def test_what_attach_detach_and_await_say_otherwise() -> None:
    body = " ".join(SECTIONS["25.1"].body.split())
    defaults = {
        name: {field.name: field for field in msgspec.structs.fields(REQUESTS[name].form)}["for_at_most_ms"].default
        for name in ("attach", "await_status")
    }
    assert f"`for_at_most_ms` is {defaults['attach']:,} by default and at least 1" in body
    assert f"`for_at_most_ms` is {defaults['await_status']:,} by default and at most 300,000" in body
