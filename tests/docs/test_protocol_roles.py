"""Holds what protocol.md says of roles and of a full disk against the core: each message is sent and answered."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from presenced.core.engine import Engine
from presenced.core.model import Edge, Session
from presenced.core.policy import Policy
from presenced.server.zones import calendar
from presenced.wire import codec, messages
from tests.docs.document import DOCUMENTED, EXAMPLES, SECTIONS, table
from tests.support.requests import REQUESTS


def test_each_request_stands_once_in_the_table_of_roles() -> None:
    named = [name for row in table(SECTIONS["12.2"].body, "request") for name in row["request"].split(", ")]
    assert sorted(named) == sorted(struct.__name__ for struct in codec.CLIENT_MESSAGES.values())


@pytest.mark.parametrize("struct", codec.CLIENT_MESSAGES.values(), ids=lambda struct: struct.__name__)
def test_the_table_of_roles_is_what_the_server_does(struct: Any) -> None:
    """A request without a word about whom is sent as it is; one that takes a user names another than its own."""
    (row,) = (row for row in table(SECTIONS["12.2"].body, "request") if struct.__name__ in row["request"].split(", "))
    example = next(example for example in EXAMPLES if example.value[0] == struct.__struct_config__.tag)
    message = codec.decode_client(example.payload)
    if "user" in struct.__struct_fields__ and struct is not messages.Hello:
        message = msgspec.structs.replace(message, user="somebody-else")
    refused = "forbidden" in row["role `user`"] or "its own user" in row["role `user`"]
    assert ("forbidden" in codes_of(message, "user")) == refused
    assert "forbidden" not in codes_of(message, "service")


@pytest.mark.parametrize("struct", codec.CLIENT_MESSAGES.values(), ids=lambda struct: struct.__name__)
def test_what_promises_to_be_kept_may_be_read_only(struct: Any) -> None:
    """Where the text names `read_only`, in the message's own section or in the list for all, and nowhere else."""
    section, _ = DOCUMENTED[struct.__name__]
    (kept,) = re.findall(r"promise to be kept, ([^:]*): `read_only`", " ".join(SECTIONS["13"].body.split()))
    named = struct.__name__ in re.findall(r"\w+", kept)
    example = next(example for example in EXAMPLES if example.value[0] == struct.__struct_config__.tag)
    codes = codes_of(codec.decode_client(example.payload), "service", read_only="read_only")
    if struct is messages.Command:
        assert "`read_only`" in SECTIONS[section].body and not named
    else:
        assert (named or "`read_only`" in SECTIONS[section].body) == (codes == ["read_only"])


def codes_of(message: Any, role: messages.Role, read_only: str = "") -> list[str]:
    """The codes of the errors with which a core in which nothing has happened answers `message`."""
    engine = Engine(Policy(), now_ms=1, wall_ms=1_767_225_600_000, epoch=1, calendar=calendar)
    session = Session(NoEdge(), "somebody", role)
    engine.sessions.attach(1, session, "device")
    engine.read_only = read_only
    REQUESTS.handle(engine, session, 1, message)
    engine.settle(1)
    answers = [codec.decode_server(data[4:]) for data in session.pending]
    return [answer.code for answer in answers if isinstance(answer, messages.Error)]


class NoEdge(Edge):
    """A link that goes nowhere."""

    def send(self, data: bytes) -> None:
        raise AssertionError("nothing is written before a turn ends")

    def end(self, code: str) -> None:
        raise AssertionError("nothing is closed before a turn ends")
