"""The description of the API: it is whole, and it is what the program reads and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from presenced.errors import CODES
from presenced.http.api.codes import HTTP_CODES, STATUS, is_temporary, refusal, status_of
from presenced.http.api.openapi import document
from presenced.http.api.requests import REQUESTS

DOCUMENT: dict[str, Any] = json.loads(document())


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(reference: str) -> Any:
    found = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def test_each_request_has_a_path_and_nothing_else_has() -> None:
    assert set(DOCUMENT["paths"]) == {f"/v1/{name}" for name in (*REQUESTS, "events", "openapi.json")}
    operations = [one for path in DOCUMENT["paths"].values() for one in path.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    for one in operations:
        assert one["summary"] and "\n" not in one["summary"]


def test_what_is_referred_to_is_there_and_has_a_plain_name() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        assert resolved(reference)
    named = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    streamed = {f"#/components/schemas/{name}" for name in ("Event", "Following", "Refusal")}
    assert named == {one for one in found if "schemas" in one} | streamed
    assert all(name.isalnum() for name in DOCUMENT["components"]["schemas"]), "no two types share a name"


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_described_as_it_is_read(name: str) -> None:
    request = REQUESTS[name]
    operation = DOCUMENT["paths"][f"/v1/{name}"]["post"]
    schema = resolved(operation["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert list(schema["properties"]) == list(request.form.__struct_fields__)
    assert schema["additionalProperties"] is False
    assert operation["requestBody"]["required"] == bool(schema["required"])
    answer = resolved(operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"])
    assert list(answer["properties"]) == list(request.answer.__struct_fields__)


def test_fields_are_described_where_the_code_does() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "until it is changed" in schemas["SetStatus"]["properties"]["for_ms"]["description"]
    assert "Wall time" in schemas["Record"]["properties"]["since_ms"]["description"]


def test_every_status_that_a_code_has_is_described() -> None:
    for name in REQUESTS:
        described = set(DOCUMENT["paths"][f"/v1/{name}"]["post"]["responses"])
        assert {str(status_of(code)) for code in HTTP_CODES} <= described
    said = json.dumps(DOCUMENT["components"]["responses"])
    for code in (*HTTP_CODES, "forbidden", "read_only", "bad_name", "frame_too_large"):
        assert f"`{code}`" in said


def test_codes_and_their_status() -> None:
    assert HTTP_CODES.keys().isdisjoint(CODES)
    for code in (*CODES, *HTTP_CODES):
        page = refusal(code, "a sentence", 1_500)
        headers = dict(page.headers)
        assert json.loads(page.body) == {
            "code": code,
            "message": "a sentence",
            "temporary": is_temporary(code),
            "retry_ms": 1_500,
        }
        assert ("Retry-After" in headers) == (page.status in (429, 503)) and headers.get("Retry-After", "2") == "2"
        assert ("WWW-Authenticate" in headers) == (page.status == 401)
        # Programs that retry by the status alone do what the code says, but for a conflict that may pass.
        if page.status >= 429:
            assert is_temporary(code)
    assert {code for code in CODES if status_of(code) == 400}.isdisjoint(STATUS)


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "presenced", "openapi"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == document()


def test_a_validator_accepts_it() -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    validator.validate(DOCUMENT)
