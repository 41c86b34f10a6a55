"""The description of all requests as an OpenAPI 3.1 document, made from the same types that read and write them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version as package_version
from typing import Any, Final

import msgspec

from presenced.errors import CODES
from presenced.http.api.codes import HTTP_CODES, Refusal, status_of
from presenced.http.api.requests import EVENT, FOLLOWING, NOTES, REQUESTS, ApiRequest
from presenced.http.page import JSON
from presenced.limits import FRAME_BYTES_MAX

OPENAPI: Final = "3.1.0"

ABOUT: Final = f"""Who is online, on which device, how available and since when.

Each request is `POST /v1/NAME` with the fields as a JSON object, at most {FRAME_BYTES_MAX} bytes of UTF-8. A field that
is left out has its default; one that is not known is refused, and so is one that stands twice, and a number with a
fraction. Times that end in `_ms` are milliseconds, moments since 1970 UTC by the server's clock. A request of a service
names the user whom it is about. All requests may be repeated safely; give an activity its time, so that it is kept
once. protocol.md says more: each request stands there under the name of its message, and section 25 is about HTTP."""

STREAM: Final = """Server-sent events: what happens to every user whom the token shows, each once and in order
(protocol.md, section 19). For services.

Each event has as its `id` the cursor `EPOCH.SEQ`, and as its data an object `Event`. Before the events, and whenever
the cursor is another, comes an event of the type `following` with an object `Following`; if `reset` is true in it,
events were missed. The last one before the server ends the stream is of the type `goodbye`, with an object `Refusal`. A
line with a colon alone comes every quarter of a minute."""


@cache
def document() -> bytes:
    """The document, as JSON. It takes some milliseconds to make, once."""
    return msgspec.json.format(msgspec.json.encode(_document()), indent=2) + b"\n"


def _document() -> dict[str, Any]:
    types: list[type] = [Refusal, EVENT, FOLLOWING]
    for request in REQUESTS.values():
        types += [request.form, request.answer]
    kinds = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    references = dict(zip(kinds, schemas, strict=True))
    for name, notes in _all_notes().items():
        for field, schema in components.get(name, {}).get("properties", {}).items():
            if field in notes:
                schema["description"] = notes[field]
    paths: dict[str, Any] = {
        f"/v1/{request.name}": {"post": _operation(request, references)} for request in REQUESTS.values()
    }
    paths["/v1/events"] = {"get": _stream()}
    paths["/v1/openapi.json"] = {"get": _itself()}
    return {
        "openapi": OPENAPI,
        "info": {"title": "presenced", "version": package_version("presenced"), "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _refusals(references[Refusal]),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Section 1.3 of protocol.md. A server in development takes the header Presence-User "
                    "instead, and perhaps Presence-Role.",
                }
            },
        },
    }


def _operation(request: ApiRequest, references: Mapping[type, Any]) -> dict[str, Any]:
    about = NOTES.get(request.name) or inspect.cleandoc(request.does.__doc__ or "")
    is_required = any(field.required for field in msgspec.structs.fields(request.form))
    return {
        "operationId": request.name,
        "summary": about.partition(". ")[0].partition(": ")[0].replace("\n", " ").removesuffix("."),
        "description": about.replace("\n", " "),
        "requestBody": {"required": is_required, "content": {JSON: {"schema": references[request.form]}}},
        "responses": {
            "200": {
                "description": "It is done.",
                "content": {JSON: {"schema": references[request.answer]}},
            },
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _STATUSES},
        },
    }


def _stream() -> dict[str, Any]:
    cursor = {"type": "string", "pattern": "^[0-9]+\\.[0-9]+$"}
    return {
        "operationId": "events",
        "summary": "Follow what happens to users",
        "description": STREAM.replace("\n", " ").replace("  ", "\n\n"),
        "parameters": [
            {
                "name": "after",
                "in": "query",
                "schema": cursor,
                "description": "The id of the last event that was handled; without it, from now on, or from where the "
                "follower is.",
            },
            {
                "name": "name",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The server keeps the position under this name (section 19.2); acknowledge moves it on.",
            },
            {
                "name": "Last-Event-ID",
                "in": "header",
                "schema": cursor,
                "description": "As browsers and their likes say it when they come back; it goes before `after`.",
            },
        ],
        "responses": {
            "200": {
                "description": "The stream, which has no end of its own.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _STATUSES},
        },
    }


def _itself() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "security": [],
        "responses": {"200": {"description": "This document.", "content": {JSON: {"schema": {"type": "object"}}}}},
    }


_BY_REQUESTS: Final = [code for code in CODES if not code.startswith(("hello_", "frame_timeout"))]

_STATUSES: Final = sorted({status_of(code) for code in (*_BY_REQUESTS, *HTTP_CODES)})


def _refusals(refusal: Any) -> dict[str, Any]:
    """The answers that are not 200, by their status: which codes come with it."""
    meanings = {code: CODES[code].meaning for code in _BY_REQUESTS}
    meanings |= {code: meaning for code, (_, _, meaning) in HTTP_CODES.items()}
    found = {}
    for status in _STATUSES:
        codes = [f"`{code}`: {meaning}" for code, meaning in meanings.items() if status_of(code) == status]
        found[str(status)] = {"description": "; ".join(codes) + ".", "content": {JSON: {"schema": refusal}}}
        if status in (429, 503):
            found[str(status)]["headers"] = {
                "Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}}
            }
    return found


def _all_notes() -> dict[str, dict[str, str]]:
    """What the code says of fields, by type and field: the docstrings below them, which nothing keeps at run time."""
    modules = [sys.modules[name] for name in sorted(sys.modules) if name.startswith(_DESCRIBED)]
    notes: dict[str, dict[str, str]] = {}
    for module in modules:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                notes[node.name] = _notes(node)
    return notes


_DESCRIBED: Final = ("presenced.wire.", "presenced.http.api.requests", "presenced.http.api.codes")


def _notes(struct: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, note in zip(struct.body, struct.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(note, ast.Expr):
            if isinstance(note.value, ast.Constant) and isinstance(note.value.value, str):
                found[field.target.id] = " ".join(note.value.value.split())
    return found
