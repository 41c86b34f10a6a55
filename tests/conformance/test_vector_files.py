"""The files of vectors are those that protocol.md makes, cover every message, and hold for this package's code."""

from __future__ import annotations

import json
import re
from typing import Any

import msgpack
import msgspec
import pytest

from presenced.address import check_name, check_text, parse_url
from presenced.client.protocol.backoff import Backoff
from presenced.client.protocol.token_end import wait_ms
from presenced.conformance.vector_files import KINDS, vectors
from presenced.digests import digest
from presenced.errors import CODES, AddressError, ProtocolError
from presenced.wire.codec import BadMessage, decode_client, decode_server, encode
from presenced.wire.frames import FrameReader
from presenced.wire.messages import Hello, Record
from tests.conformance.fields import kinds
from tests.conformance.make_vectors import FILES, VECTORS, text_of
from tests.docs.document import SECTIONS


def wrong(name: str, check: Any) -> list[str]:
    """The names of the cases of a file that the check does not hold for, with what it says."""
    return [f"{case.name}: {why}" for case in vectors(name).cases if (why := check(case))]


# --- the files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_the_document_makes(name: str) -> None:
    text = (VECTORS / f"{name}.json").read_text(encoding="ascii")
    assert text == text_of(name), "protocol.md or its vectors have changed: make vectors"


@pytest.mark.parametrize("name", KINDS)
def test_a_file_is_strict_and_says_where_each_case_comes_from(name: str) -> None:
    file = vectors(name)
    assert file.vectors == name and file.cases
    names = [case.name for case in file.cases]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    for case in file.cases:
        assert case.section in SECTIONS, case
        assert case.section in file.sections or case.section.split(".")[0] in file.sections, case
    with pytest.raises(msgspec.ValidationError):
        broken = json.loads((VECTORS / f"{name}.json").read_text()) | {"more": 1}
        msgspec.convert(broken, type=type(file))


def test_every_message_of_the_protocol_has_its_vectors() -> None:
    accepted = {case.message for case in vectors("messages").cases}
    refused = {case.message for case in vectors("refusals").cases}
    assert accepted == {kind.name for kind in kinds()}
    # A Bye has no field that could be wrong.
    assert refused - {None} == {kind.name for kind in kinds() if kind.is_clients} - {"Bye"}


def test_every_code_that_closes_a_link_or_a_request_stands_in_the_list_of_codes() -> None:
    for case in vectors("refusals").cases:
        code = case.owed.goodbye or case.owed.error[1]
        assert CODES[code].closes == (case.owed.goodbye is not None), case
    assert {code for case in vectors("framing").cases if (code := case.code)} == {"bad_frame", "frame_too_large"}


# --- this package's code --------------------------------------------------------------------------------------


def test_the_codec_reads_every_message_as_it_is_meant() -> None:
    def check(case: Any) -> str:
        decode = decode_client if case.sender == "client" else decode_server
        message: Any = decode(bytes.fromhex(case.hex))
        means = case.means or case.json
        if type(message).__name__ != case.message:
            return f"read as a {type(message).__name__}"
        if msgpack.unpackb(encode(message)) != means:
            return f"read as {message}"
        return "" if msgspec.json.decode(json.dumps(case.json), type=type(message)) == message else "JSON differs"

    assert wrong("messages", check) == []


def test_the_codec_refuses_every_wrong_payload_with_the_code_that_is_owed() -> None:
    tried = 0

    def check(case: Any) -> str:
        nonlocal tried
        if case.message is None and (case.state == "new" or case.owed == hello_again):
            return ""  # It is the server that knows what has been said on the link.
        tried += 1
        try:
            return f"accepted as {decode_client(bytes.fromhex(case.hex))}"
        except BadMessage as error:
            if case.message == "Hello":
                return "" if error.code == "bad_request" and case.owed.goodbye == "bad_hello" else error.code
            came = (error.request_id, error.code)
        return "" if came == case.owed.error or (came == (0, "bad_frame") and case.owed.goodbye) else str(came)

    hello_again = next(case.owed for case in vectors("refusals").cases if case.name == "a second hello")
    assert wrong("refusals", check) == []
    assert tried > 900


def test_a_wrong_payload_is_wrong_in_json_as_well() -> None:
    def check(case: Any) -> str:
        return "" if case.json is None or msgpack.packb(case.json).hex() == case.hex else "JSON and hex differ"

    assert wrong("refusals", check) == []


def test_frames_are_cut_from_the_stream() -> None:
    def check(case: Any) -> str:
        reader = FrameReader(case.longest)
        payloads: list[str] = []
        code = None
        for piece in case.pieces:
            reader.feed(bytes.fromhex(piece))
            try:
                while taken := reader.take(10):
                    payloads += [payload.hex() for payload in taken]
            except ProtocolError as error:
                code = error.code
        return "" if (payloads, code) == (case.payloads, case.code) else f"{payloads}, {code}"

    assert wrong("framing", check) == []


def test_digests_and_their_sums_are_those_of_the_document() -> None:
    def of(row: list[Any]) -> int:
        return digest(msgspec.convert(row, Record))

    assert wrong("digests", lambda case: "" if of(case.record) == case.digest else str(of(case.record))) == []
    for case in vectors("checksums").cases:
        assert sum(map(of, case.records)) % 2**32 == case.checksum
        assert len(case.records) == case.users


def test_waiting_times_keep_their_bounds() -> None:
    for case in vectors("times").cases:
        for share in (0.0, 0.999999999):
            if case.left_ms is not None:
                waited_ms = wait_ms(case.left_ms, share)
            else:
                backoff = Backoff(lambda share=share: share)  # type: ignore[misc]
                for _ in range(case.attempt):
                    backoff.delay_ms()
                waited_ms = backoff.delay_ms(case.retry_ms)
            assert case.least_ms <= waited_ms, case
            assert case.most_ms is None or waited_ms <= case.most_ms, case


def test_names_and_lines_are_accepted_and_refused_alike() -> None:
    def accepts(check: Any, *args: str) -> bool:
        try:
            check(*args)
        except AddressError:
            return False
        return True

    def check(case: Any) -> str:
        came = (accepts(check_name, case.text, "user"), accepts(check_text, case.text))
        return "" if came == (case.is_name, case.is_line) else str(came)

    assert wrong("texts", check) == []


def test_urls_are_read_alike() -> None:
    def check(case: Any) -> str:
        try:
            url = parse_url(case.url)
        except AddressError as error:
            return "" if case.is_refused else str(error)
        if case.is_refused:
            return f"read as {url}"
        came = {name: getattr(url, name) for name in msgspec.structs.asdict(case.parts)}
        return "" if came == msgspec.structs.asdict(case.parts) else str(came)

    assert wrong("urls", check) == []


def test_hello_is_the_one_message_with_codes_of_its_own() -> None:
    """`bad_hello` closes the link: whoever adds such a message has to say what is owed for it."""
    assert {case.message for case in vectors("refusals").cases if case.owed.goodbye and case.message} == {
        Hello.__name__
    }
    assert not re.search(r"\bbad_(?!hello|request|frame|version)", (VECTORS / "refusals.json").read_text())
