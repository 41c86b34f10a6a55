"""Requests and replies as JSON objects: whatever a message can say comes through, and nothing else does."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, strategies as st

from presenced.errors import RequestError
from presenced.http.api.bodies import UnsupportedType, read_body
from presenced.http.api.requests import ELSEWHERE, INSTEAD, INSTEAD_OF, REPLIES, REQUESTS, ApiRequest, spelled
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, Done
from tests.docs.document import SECTIONS, table
from tests.wire.strategies import messages_of

OF_MESSAGES = {name: request for name, request in REQUESTS.items() if name not in ("beat", "acknowledge")}
JSON_HEADERS = {"content-type": "application/json"}


def named(value: Any) -> Any:
    """A message as an object, made by hand."""
    if isinstance(value, msgspec.Struct):
        return {field: named(getattr(value, field)) for field in value.__struct_fields__ if field != "id"}
    return [named(item) for item in value] if isinstance(value, list) else value


def asked(request: ApiRequest, said: object) -> Any:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return request.message(read_body(request, body, JSON_HEADERS), 7, 3)


def test_each_message_is_a_request_or_it_is_said_what_to_do_instead() -> None:
    shown = {request.does for request in OF_MESSAGES.values()}
    assert shown.isdisjoint(ELSEWHERE)
    assert shown | ELSEWHERE.keys() == set(get_args(ClientMessage))
    assert INSTEAD_OF.keys() - {"acknowledge"} == {spelled(one) for one in ELSEWHERE} - REQUESTS.keys()


def test_what_answers_a_request_is_what_the_protocol_says() -> None:
    words = {row["name"]: row["answered by"] for row in table(SECTIONS["5"].body, "type") if row["sent by"] == "client"}
    for request in OF_MESSAGES.values():
        answer = REPLIES.get(request.does, Done)
        assert re.split(r"[ ,]", words[request.does.__name__])[0] == answer.__name__
        assert request.answer.__name__ == answer.__name__


@pytest.mark.parametrize("name", OF_MESSAGES)
def test_a_request_has_the_fields_and_defaults_of_its_message(name: str) -> None:
    request = REQUESTS[name]
    fields = {field.name: field for field in msgspec.structs.fields(request.does)}
    hidden = {"id", "ref"} & fields.keys()
    form = {field.name: field for field in msgspec.structs.fields(request.form)}
    assert list(form) == [field for field in fields if field not in hidden]
    for field, changed in form.items():
        if field not in INSTEAD.get(request.does, {}):
            assert changed.required == fields[field].required
            assert changed.default == fields[field].default
    needed = {field.name for field in form.values() if field.required}
    if needed:
        with pytest.raises(RequestError, match=f"{name}: the field ({'|'.join(needed)}) is missing"):
            read_body(request, b"", {})
    else:
        assert read_body(request, b"", {}) == request.form()


@given(st.data())
def test_whatever_a_message_says_comes_through(data: st.DataObject) -> None:
    request = data.draw(st.sampled_from(list(OF_MESSAGES.values())))
    message = data.draw(messages_of(request.does))
    said = named(message)
    said.pop("ref", None)
    for field in INSTEAD.get(request.does, {}):
        if field == "for_at_most_ms":
            said[field] = 1 + said[field] % 300_000
    want = msgspec.structs.replace(message, id=7, **({"ref": 3} if request.has_ref else {}))
    got = asked(request, said)
    assert type(got) is type(want)
    assert named(got) == named(want) | {field: said[field] for field in INSTEAD.get(request.does, {})}


@given(st.data())
def test_whatever_a_reply_says_is_told_by_name(data: st.DataObject) -> None:
    request = data.draw(st.sampled_from(list(OF_MESSAGES.values())))
    reply = data.draw(messages_of(REPLIES.get(request.does, Done)))
    assert json.loads(request.tell(reply)) == named(reply)


REFUSED: dict[str, tuple[str, bytes, str]] = {
    "no object": ("who", b"[]", "the body is no JSON object: Expected `object`, got `array`"),
    "nothing after all": ("who", b" ", "the body is not JSON in UTF-8"),
    "half": ("who", b'{"limit":', "the body is not JSON in UTF-8"),
    "two": ("who", b"{}{}", "the body is not JSON in UTF-8"),
    "a byte-order mark": ("who", b"\xef\xbb\xbf{}", "the body is not JSON in UTF-8"),
    "UTF-16": ("who", '{"after":"é"}'.encode("utf-16"), "the body is not JSON in UTF-8"),
    "text that is not UTF-8": ("who", b'{"after":"\xff"}', "the body is not JSON in UTF-8"),
    "half a surrogate pair": (
        "who",
        b'{"after":"\\ud800"}',
        "the body is not JSON in UTF-8: \\ud800 is half of a surrogate pair",
    ),
    "the wrong half first": ("who", b'{"after":"\\udc00\\ud800"}', "the body is not JSON in UTF-8: \\udc00 is half"),
    "an unknown field": ("who", b'{"befor":1}', "the field befor is not known; there are after, limit"),
    "an id": ("who", b'{"id":1}', "the field id is not known; there are after, limit"),
    "a ref": ("attach", b'{"user":"a","device":"b","ref":1}', "the field ref is not known; there are user, device"),
    "a field of a value": (
        "set_schedule",
        b'{"zone":"UTC","windows":[{"days":1,"start_min":0,"end_min":1,"hm":1}]}',
        "windows[0]: the field hm is not known",
    ),
    "a value without a field": (
        "set_schedule",
        b'{"zone":"UTC","windows":[{"days":1,"start_min":0}]}',
        "windows[0]: the field end_min is missing",
    ),
    "a missing field": ("get_status", b"{}", "the field users is missing"),
    "a fraction": ("who", b'{"limit":1.5}', "limit: Expected `int`, got `float`"),
    "a whole fraction": ("who", b'{"limit":1.0}', "limit: Expected `int`, got `float`"),
    "an exponent": ("who", b'{"limit":1e2}', "limit: Expected `int`, got `float`"),
    "a number in quotes": ("who", b'{"limit":"1"}', "limit: Expected `int`, got `str`"),
    "true": ("who", b'{"limit":true}', "limit: Expected `int`, got `bool`"),
    "null": ("who", b'{"limit":null}', "limit: Expected `int`, got `null`"),
    "beyond its limit": ("who", b'{"limit":257}', "limit: Expected `int` <= 256"),
    "beyond 2^53": ("get_history", b'{"since_ms":9007199254740993}', "since_ms: Expected `int` <= 9007199254740992"),
    "beyond all numbers": ("get_history", b'{"since_ms":' + b"9" * 400 + b"}", "since_ms: "),
    "NaN": ("who", b'{"limit":NaN}', "the body is not JSON in UTF-8"),
    "too many": ("get_status", b'{"users":[' + b",".join([b'"a"'] * 257) + b"]}", "users: Expected `array` of length"),
    "none": ("get_status", b'{"users":[]}', "users: Expected `array` of length >= 1"),
    "one of several": ("get_status", b'{"users":["a",1]}', "users[1]: Expected `str`, got `int`"),
    "a word that is none": (
        "set_status",
        b'{"status":"busy"}',
        "status: Invalid enum value 'busy'; there are chat, online, away, xa, dnd, offline, auto",
    ),
    "the same twice": ("who", b'{"limit":1,"limit":2}', "the field limit stands twice"),
    "the same twice, hidden": ("who", b'{"limit":1,"\\u006cimit":2}', "the field limit stands twice"),
    "the same twice inside": (
        "set_contacts",
        b'{"user":"a","contacts":[{"contact":"b","name":"x"},{"contact":"c","name":"x","name":"y"}]}',
        "the field name stands twice",
    ),
    "nested deep": ("who", b'{"after":' + b"[" * 60_000, "after: Expected `str`, got `array`"),
    "no lease": ("attach", b'{"user":"a","device":"b","for_at_most_ms":0}', "for_at_most_ms: Expected `int` >= 1"),
    "a long await": (
        "await_status",
        b'{"user":"a","for_at_most_ms":300001}',
        "for_at_most_ms: Expected `int` <= 300000",
    ),
    "a detach of nobody": ("detach", b"{}", "the field user is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_body_that_is_wrong_is_refused_by_name(case: str) -> None:
    name, body, sentence = REFUSED[case]
    with pytest.raises(RequestError) as caught:
        read_body(REQUESTS[name], body, JSON_HEADERS)
    assert caught.value.code == "bad_request"
    assert caught.value.message.startswith(f"{name}: {sentence}")
    assert len(caught.value.message) < 400


@given(
    st.binary(max_size=60)
    | st.text(max_size=40).map(str.encode)
    | st.from_regex(rb'\{("[a-z_]{1,5}":[0-9"\[\{n]{1,3},?){1,3}\}')
)
def test_no_body_breaks_the_reader(body: bytes) -> None:
    for request in (REQUESTS["who"], REQUESTS["set_schedule"], REQUESTS["beat"]):
        try:
            read_body(request, body, JSON_HEADERS)
        except RequestError as error:
            error.message.encode()


def test_a_long_name_is_not_repeated() -> None:
    for body in (b'{"%b":1}' % (b"x" * 50_000), b'{"after":"a","%b":1}' % (b"\xc3\xa9" * 20_000)):
        with pytest.raises(RequestError) as caught:
            read_body(REQUESTS["who"], body, JSON_HEADERS)
        assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "said",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonp"],
)
def test_what_is_not_said_to_be_json_is_refused(said: str) -> None:
    with pytest.raises(UnsupportedType, match=re.escape(said) or "missing"):
        read_body(REQUESTS["who"], b"{}", {"content-type": said} if said else {})


@pytest.mark.parametrize(
    "said", ["application/json", "Application/JSON;charset=UTF-8", 'application/json; charset="utf-8"']
)
def test_json_may_be_said_in_several_ways(said: str) -> None:
    assert read_body(REQUESTS["who"], b'{"limit":5}', {"content-type": said}).limit == 5


def test_values_inside_of_a_request_are_those_of_the_message() -> None:
    windows = [{"days": 3, "start_min": 0, "end_min": 60}, {"days": 4, "start_min": 0, "end_min": 60, "status": "away"}]
    schedule = asked(REQUESTS["set_schedule"], {"zone": "Europe/Berlin", "windows": windows})
    assert schedule.windows == [messages.Window(3, 0, 60), messages.Window(4, 0, 60, "away")]
