"""The logger `presenced.client` and its children: what an application's log gets, at which level, and what never."""

from __future__ import annotations

import logging
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

import presenced
from presenced.client import frame_log
from presenced.wire.codec import CLIENT_MESSAGES, SERVER_MESSAGES
from presenced.wire.messages import Goodbye, Hello, Presence, Record, SetStatus, Welcome
from tests.client.fake_server import FakeServer, fake_server
from tests.support import REPOSITORY
from tests.support.until import eventually

SECRET = "s3cret"
"""In every field that must not be shown."""

PRIVATE = "what nobody but them should read"
"""In every field that people write: the log has its beginning alone."""

SHOWN: frozenset[str] = frozenset(
    "user device kind kinds name names agent focus emoji old_emoji new_emoji users after claim zone schedule_status "
    "activity channel contact groups always never about old new reason next code message left verb removed blocked "
    "hidden sentence status versions role".split()
)
"""Fields of messages with text in it that a log may show: names, words of the protocol, and the server's sentences."""


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as server:
        yield server


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """What a program reads of a line."""
    return {
        name.removeprefix("presence_"): value for name, value in vars(record).items() if name.startswith("presence_")
    }


class TestLinks:
    async def test_each_line_says_in_fields_what_its_sentence_says(
        self, server: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "presenced.client.frames")
        caplog.set_level(logging.DEBUG, "presenced.client")
        async with presenced.connect(server.url()) as me:
            server.refusals = [Goodbye("busy", "full")]
            server.link.drop()
            await eventually(lambda: me.state == "connected" and len(server.links) == 3)
        lines = [(record.name, record.levelname, fields_of(record)) for record in caplog.records]
        who = {"user": "alice", "device": "laptop", "server": f"127.0.0.1:{server.port}"}
        assert {name for name, _, _ in lines} == {"presenced.client.link"}
        assert [(level, found["event"]) for _, level, found in lines] == [
            ("INFO", "link_opened"),
            ("WARNING", "link_lost"),
            ("WARNING", "link_failed"),
            ("INFO", "link_back"),
            ("DEBUG", "closed"),
        ]
        assert all(found.items() >= who.items() for _, _, found in lines)
        lost, failed, back = (found for _, _, found in lines[1:4])
        assert (lost["code"], failed["code"]) == ("link_lost", "busy")
        assert typing.cast(int, failed["wait_ms"]) >= 0 and typing.cast(int, back["away_ms"]) >= 0

    async def test_the_fields_get_along_with_those_of_an_application(self, server: FakeServer) -> None:
        """An `extra` with a name that a record has already raises; an application's own records have such names."""
        make, lines = logging.getLogRecordFactory(), []

        def factory(*args: typing.Any, **kwargs: typing.Any) -> logging.LogRecord:
            record = make(*args, **kwargs)
            record.user = record.device = record.server = record.code = "the application's"
            lines.append(record)
            return record

        logger = logging.getLogger("presenced.client")
        logging.setLogRecordFactory(factory)
        logger.setLevel(logging.DEBUG)
        try:
            async with presenced.connect(server.url()) as me:
                server.link.drop()
                await eventually(lambda: me.state == "connected" and len(server.links) == 2)
        finally:
            logging.setLogRecordFactory(make)
            logger.setLevel(logging.NOTSET)
        assert {"link_opened", "link_lost", "link_back", "frame"} <= {fields_of(line).get("event") for line in lines}


def test_a_program_that_has_set_up_no_logging_sees_nothing_of_it() -> None:
    code = """
import logging, presenced.client
logging.getLogger("presenced.client.link").error("nobody has asked for this")
logging.basicConfig(format="%(name)s %(message)s")
logging.getLogger("presenced.client.link").error("somebody has")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout + done.stderr == "presenced.client.link somebody has\n"


class TestFrames:
    async def test_what_is_sent_and_received_is_there_at_level_debug(
        self, server: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, "presenced.client.frames")
        server.welcome = msgspec.structs.replace(server.welcome, resume=SECRET)
        async with presenced.connect(server.url(), token=SECRET, meta=SECRET) as me:
            await me.set_status("dnd", text=PRIVATE)
        assert SECRET not in caplog.text and PRIVATE not in caplog.text
        peer = f"127.0.0.1:{server.port}"
        told = [(fields_of(line)["direction"], fields_of(line)["message"]) for line in caplog.records]
        assert told[:2] == [("sent", "Hello"), ("received", "Welcome")] and told[-1] == ("sent", "Bye")
        lines = [record.getMessage() for record in caplog.records]
        assert f"{peer} -> SetStatus(id=1, status='dnd', text='what nob'...), 45 bytes" in lines
        assert all(line.startswith((f"{peer} -> ", f"{peer} <- ")) for line in lines)

    async def test_by_default_none_is_made(self, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        def told(*args: object) -> None:
            raise AssertionError("a line was made that nobody asked for")

        monkeypatch.setattr(frame_log, "tell", told)
        async with presenced.connect(server.url()) as me:
            await me.get_status("bob")

    def test_of_every_message_secrets_are_left_out_and_texts_are_cut(self) -> None:
        for kind in (*CLIENT_MESSAGES.values(), *SERVER_MESSAGES.values()):
            line = frame_log.shown(filled(kind))
            assert SECRET not in line and PRIVATE not in line, line
            assert line.startswith(f"{kind.__name__}("), line

    def test_a_long_list_is_cut(self) -> None:
        assert frame_log.shown(["a", "b", "c", "d", "e", "f"]) == "['a', 'b', 'c', 'd', and 2 more]"
        assert len(frame_log.shown("x" * 10_000)) < 100

    def test_what_is_shown_is_enough_to_know_the_message(self) -> None:
        record = Record("bob", "away", "back at three", "", 1_900_000_000_000, 0, "phone", 7)
        shown = frame_log.shown(Presence(record))
        assert shown == (
            "Presence(record=Record(user='bob', status='away', text='back at '..., since_ms=1900000000000, "
            "device='phone', version=7))"
        )
        assert "token=..." in frame_log.shown(Hello([1], SECRET, "alice", "laptop"))
        assert "resume=..." in frame_log.shown(filled(Welcome)) and frame_log.shown(SetStatus(3)) == "SetStatus(id=3)"


def filled(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """One of this kind whose every text says what it is: a secret, private, or neither."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: value_of(hints[name], name) for name in kind.__struct_fields__})


def value_of(hint: typing.Any, field: str) -> object:
    parts = [part for part in typing.get_args(hint) if part is not type(None)]
    origin = typing.get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return filled(hint)
    if origin in (list, tuple):
        return [value_of(parts[0], field)]
    if origin is typing.Literal:
        return parts[0]
    if parts:  # a union, or an annotated type
        return value_of(parts[0], field)
    if hint is str:
        if field in frame_log.SECRETS:
            return SECRET
        if field in frame_log.TEXTS:
            return PRIVATE
        assert field in SHOWN, f"{field}: may a log show it? Then it belongs to SHOWN here, else to frame_log"
        return field
    return hint() if isinstance(hint, type) else hint


@pytest.fixture(autouse=True)
def no_level_is_left_behind() -> Iterator[None]:
    yield
    assert logging.getLogger("presenced.client").level == logging.NOTSET
