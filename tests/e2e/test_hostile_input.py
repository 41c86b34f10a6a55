"""Whatever a client sends, it gets the right code, and the links beside it notice nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from presenced.limits import FRAME_BYTES_MAX, HELLO_BYTES_MAX, WATCH_USERS_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import Bye, Get, Ping, SetDevice, SetStatus, Watch, Who
from tests.support.daemon import Daemon
from tests.support.wire import (
    DONE,
    ERROR,
    PONG,
    PRESENCE,
    RECORDS,
    WELCOME,
    WHO_PAGE,
    Bystander,
    Wire,
    hello,
    opened,
)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    log = tmp_path_factory.mktemp("hostile") / "log"
    with Daemon(log, "--check", "--change-spacing", "0", "--grace", "0") as daemon:
        yield daemon.port


@pytest.fixture(scope="module")
def beside(port: int) -> Iterator[Bystander]:
    bystander = Bystander(port)
    yield bystander
    bystander.close()


def framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


NO_MESSAGE: dict[str, bytes] = {
    "length 0": b"\0\0\0\0",
    "an integer": framed(b"\x04"),
    "a map": framed(b"\x81\x04\x07"),
    "a string": framed(b"\xa4ping"),
    "a byte that msgpack has not": framed(b"\xc1"),
    "an empty array": framed(b"\x90"),
    "a type that is a float": framed(b"\x92\xcb\x40\x10\0\0\0\0\0\0\x07"),
    "a type that is text": framed(b"\x92\xa1a\x07"),
    "bytes after the array": framed(b"\x92\x04\x07\x00"),
    "an array that ends early": framed(b"\x93\x04\x07"),
    "an array of four thousand million": framed(b"\xdd\xff\xff\xff\xff\x04\x07"),
    "a nested array bomb": framed(b"\x91" * HELLO_BYTES_MAX),
    "a bomb of empty array headers": framed(b"\xdd\xff\xff\xff\xff" * 1600),
    "random words of http": b"\x00\x00\x00\x10GET / HTTP/1.1\r\n",
}


def before_hello() -> dict[str, tuple[bytes, str]]:
    cases = {what: (data, "bad_frame") for what, data in NO_MESSAGE.items()}
    cases["one byte over the cap"] = ((HELLO_BYTES_MAX + 1).to_bytes(4, "big"), "frame_too_large")
    cases["the greatest length"] = (b"\xff\xff\xff\xff", "frame_too_large")
    cases["http"] = (b"GET / HTTP/1.1\r\n\r\n", "frame_too_large")
    for what, message in {
        "a ping": Ping(1),
        "a bye": Bye(),
        "a watch": Watch(1, ["bob"]),
        "an unknown type": [191, 1],
        "a negative type": [-1, 1],
        "a welcome": [64, 1, "root", "", "admin"],
    }.items():
        cases[f"{what} before hello"] = (framed(encode(message)), "hello_required")
    for what, message in {
        "no version": [1, [], "", "eve", "x"],
        "nine versions": [1, [1] * 9, "", "eve", "x"],
        "a version that is text": [1, ["1"], "", "eve", "x"],
        "a user that is a number": [1, [1], "", 5, "x"],
        "no device at all": [1, [1], "", "eve"],
        "an empty device": [1, [1], "", "eve", ""],
        "an empty user": [1, [1], "", "", "x"],
        "a name that is too long": [1, [1], "", "e" * 129, "x"],
        "a name that is too long in bytes": [1, [1], "", "\u00e9" * 65, "x"],
        "a name with a space": [1, [1], "", "eve adams", "x"],
        "a name with a newline": [1, [1], "", "eve\nINFO all is well", "x"],
        "a name with an escape": [1, [1], "", "\x1b[31meve", "x"],
        "a name with a slash": [1, [1], "", "eve/x", "x"],
        "a name with a zero byte": [1, [1], "", "eve\0", "x"],
        "a name that runs backwards": [1, [1], "", "\u202eeve", "x"],
        "a name that is not NFC": [1, [1], "", "eve\u0301", "x"],
        "a device with a tab": [1, [1], "", "eve", "a\tb"],
        "a device that is too long": [1, [1], "", "eve", "x" * 129],
        "a kind that is too long": [1, [1], "", "eve", "x", "k" * 65],
        "a label with a control character": [1, [1], "", "eve", "x", "", "a\x07"],
        "an agent that is too long": [1, [1], "", "eve", "x", "", "", 0, "online", 0, "user", "a" * 65],
        "a priority out of range": [1, [1], "", "eve", "x", "", "", 128],
        "a device that is offline": [1, [1], "", "eve", "x", "", "", 0, "offline"],
        "an idle time below 0": [1, [1], "", "eve", "x", "", "", 0, "online", -1],
        "an unknown role": [1, [1], "", "eve", "x", "", "", 0, "online", 0, "king"],
    }.items():
        cases[what] = (framed(encode(message)), "bad_hello")
    cases["a name that is not UTF-8"] = (framed(b"\x95\x01\x91\x01\xa0\xa2\xff\xfe\xa1x"), "bad_hello")
    cases["a name with half a surrogate pair"] = (framed(b"\x95\x01\x91\x01\xa0\xa3\xed\xa0\x80\xa1x"), "bad_hello")
    cases["a version that is not spoken"] = (framed(encode([1, [2, 77], "", "eve", "x"])), "bad_version")
    return cases


@pytest.mark.parametrize(("data", "code"), before_hello().values(), ids=list(before_hello()))
def test_before_hello(port: int, beside: Bystander, data: bytes, code: str) -> None:
    with Wire(port) as link:
        link.send_bytes(data)
        link.ended_with(code)
        assert len(link.told) == 1
    beside.check()


@pytest.mark.parametrize("data", NO_MESSAGE.values(), ids=list(NO_MESSAGE))
def test_what_is_no_message_ends_a_link(port: int, beside: Bystander, data: bytes) -> None:
    with opened(port, "mallory") as link:
        link.send_bytes(data)
        link.ended_with("bad_frame")
    beside.check()


@pytest.mark.parametrize("head", [b"\x92\x04", b"\x93\x04\x07", b"\x94\x05\x07\xa3dnd"])
def test_what_is_nested_deep_is_an_answer_and_no_end(port: int, beside: Bystander, head: bytes) -> None:
    bomb = framed(head + b"\x91" * 8000)
    with Wire(port) as link:
        link.send_bytes(bomb)
        link.ended_with("hello_required")
    with opened(port, "deep") as link:
        link.send_bytes(bomb + framed(encode(Ping(9))))
        assert [link.next()[:3], link.next()[:2]] == [[ERROR, 7 * (len(head) > 2), "bad_request"], [PONG, 9]]
    beside.check()


def test_the_cap_after_hello(port: int, beside: Bystander) -> None:
    """A payload of exactly the cap is read and answered, one byte more is refused before it is sent."""
    with opened(port, "cap") as link:
        payload = b"\x93\x04\x07\xc5" + (FRAME_BYTES_MAX - 6).to_bytes(2, "big") + bytes(FRAME_BYTES_MAX - 6)
        assert len(payload) == FRAME_BYTES_MAX
        link.send_payload(payload)
        assert link.next()[:2] == [PONG, 7]
        link.send_bytes((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        link.ended_with("frame_too_large")
    beside.check()


def test_the_cap_before_hello(port: int) -> None:
    """A hello padded to exactly the cap is welcome: readers ignore trailing fields."""
    known: list[object] = [1, [1], "", "padded", "x", "", "", 0, "online", None, "user", "", False, False, False, 0]
    base = encode([*known, False, False, None, None, ""])
    pad = HELLO_BYTES_MAX - len(base) - 3
    with Wire(port) as link:
        link.send_payload(b"\xdc\x00\x16" + base[3:] + b"\xc5" + pad.to_bytes(2, "big") + bytes(pad))
        assert link.next()[0] == WELCOME


REFUSED: dict[str, tuple[Any, str, int]] = {
    "an unknown type": ([191, 9], "unknown_type", 9),
    "an unknown type without id": ([191], "unknown_type", 0),
    "type 0": ([0, 9], "unknown_type", 9),
    "a negative type": ([-5, 9], "unknown_type", 9),
    "a welcome": ([64, 9], "unknown_type", 9),
    "a presence": ([71, ["bob", "online", "", "", 0, 0, "x", 1]], "unknown_type", 0),
    "a second hello": (hello("other"), "hello_repeated", 0),
    "a broken second hello": ([1, []], "bad_request", 0),
    "a ping without id": ([4], "bad_request", 0),
    "a ping with id 0": ([4, 0], "bad_request", 0),
    "a ping with an id too great": ([4, 2**32], "bad_request", 0),
    "a ping with an id of text": ([4, "1"], "bad_request", 0),
    "a heartbeat with text": ([2, "now"], "bad_request", 0),
    "a heartbeat from the future": ([2, -1], "bad_request", 0),
    "a status that is none": ([5, 9, "sleepy"], "bad_request", 9),
    "a status that is a number": ([5, 9, 1], "bad_request", 9),
    "a text that is a list": ([5, 9, None, ["a"]], "bad_request", 9),
    "a duration below 0": ([5, 9, "dnd", None, None, -1], "bad_request", 9),
    "a duration above a year": ([5, 9, "dnd", None, None, 2**40], "bad_request", 9),
    "a text that is too long": (SetStatus(9, text="x" * 513), "bad_text", 9),
    "a text with a newline": (SetStatus(9, text="a\nb"), "bad_text", 9),
    "an emoji that is too long": (SetStatus(9, emoji="x" * 65), "bad_text", 9),
    "a text that is well and an emoji that is not": (SetStatus(9, text="fine", emoji="\x00"), "bad_text", 9),
    "a device that is offline": ([6, 9, "offline"], "bad_request", 9),
    "a get of nobody": ([7, 9, []], "bad_request", 9),
    "a get of too many": ([7, 9, ["a"] * 257], "bad_request", 9),
    "a get of a number": ([7, 9, ["a", 5]], "bad_request", 9),
    "a get of an empty name": (Get(9, ["bob", ""]), "bad_name", 9),
    "a get of a name with a space": (Get(9, ["b b"]), "bad_name", 9),
    "a get of too long a name": (Get(9, ["b" * 129]), "bad_name", 9),
    "a watch of an empty name": (Watch(9, [""]), "bad_name", 9),
    "a watch of a control character": (Watch(9, ["bob", "b\x7f"]), "bad_name", 9),
    "a watch of a name with a zero-width space": (Watch(9, ["bob\u200b"]), "bad_name", 9),
    "a page after a bad name": (Who(9, "a b"), "bad_name", 9),
    "a page of 257": ([8, 9, "", 257], "bad_request", 9),
    "a page of -1": ([8, 9, "", -1], "bad_request", 9),
}


@pytest.mark.parametrize(("message", "code", "request_id"), REFUSED.values(), ids=list(REFUSED))
def test_a_bad_request_is_refused_alone(port: int, beside: Bystander, message: Any, code: str, request_id: int) -> None:
    """The requests before and after it in the same write are answered, in order, and nothing of it is applied."""
    with opened(port, "trent") as link:
        link.send(Ping(1), message, Ping(2))
        assert link.next()[:2] == [PONG, 1]
        link.refused_with(code, request_id)
        assert link.next()[:2] == [PONG, 2]
        link.send(Get(3, ["trent"]))
        assert link.next()[4][0][1:4] == ["online", "", ""]
    beside.check()


def test_names_that_are_not_utf8_are_refused_alone(port: int, beside: Bystander) -> None:
    with opened(port, "bytes") as link:
        link.send_payload(b"\x93\x09\x05\x91\xa2\xff\xfe")
        link.refused_with("bad_request", 5)
        link.send(Ping(2))
        assert link.next()[:2] == [PONG, 2]
    beside.check()


def test_watching_over_the_limit(port: int, beside: Bystander) -> None:
    names = [f"w{number}" for number in range(WATCH_USERS_MAX + 1)]
    with opened(port, "collector") as link:
        for start in range(0, WATCH_USERS_MAX - 1, 256):
            link.send(Watch(1, names[start : min(start + 256, WATCH_USERS_MAX - 1)]))
            assert link.next()[0] == RECORDS
        link.send(Watch(2, names[-2:]))
        link.refused_with("watch_limit", 2)
        link.send(Watch(3, [names[0], names[-2], names[-2]]))
        assert link.next()[:2] == [RECORDS, 3], "one more is within the limit; known and repeated names cost nothing"
        link.send(Watch(4, [names[-1]]))
        link.refused_with("watch_limit", 4)
    beside.check()


def test_the_seventeenth_device(port: int, beside: Bystander) -> None:
    devices = [opened(port, "octopus", f"d{number}") for number in range(16)]
    with Wire(port) as link:
        link.send(hello("octopus", "d16"))
        link.ended_with("device_limit")
    devices[3].send(Bye())
    assert devices[3].rest() == []
    opened(port, "octopus", "d16").close()
    for device in devices:
        device.close()
    beside.check()


def test_a_service_without_device(port: int, beside: Bystander) -> None:
    """It may ask and watch; what acts for a device is refused."""
    with opened(port, "backend", "", role="service") as link:
        link.send(SetStatus(1, "dnd"), SetDevice(2, "away"), Who(3), Ping(4))
        link.refused_with("no_device", 1)
        link.refused_with("no_device", 2)
        assert link.next()[:2] == [WHO_PAGE, 3]
        assert link.next()[:2] == [PONG, 4]
    beside.check()


def test_hello_and_requests_in_one_segment(port: int) -> None:
    with Wire(port) as link:
        link.send(hello("eager"), Watch(1, ["eager"]), Ping(2), SetStatus(3, "dnd"), Ping(4))
        assert link.next()[0] == WELCOME, "always first"
        answers = {got[0]: got for got in (link.next() for _ in range(4))}
        assert sorted((got[0], got[1]) for got in link.told[1:]) == [(DONE, 3), (PONG, 2), (PONG, 4), (RECORDS, 1)]
        assert [record[1] for record in answers[RECORDS][4]] == ["dnd"], "one change of all that is said in a turn"


def test_one_byte_at_a_time(port: int, beside: Bystander) -> None:
    with Wire(port) as link:
        for byte in b"".join(framed(encode(message)) for message in (hello("drip"), Ping(1), Get(2, ["drip"]))):
            link.send_bytes(bytes((byte,)))
        assert [link.next()[0] for _ in range(3)] == [WELCOME, PONG, RECORDS]
    beside.check()


def test_what_came_before_a_breach_is_answered(port: int) -> None:
    """Welcome and pong were earned in the same segment as the breach; they are read before the goodbye."""
    with Wire(port) as link:
        link.send_bytes(framed(encode(hello("clumsy"))) + framed(encode(Ping(1))) + b"\0\0\0\0")
        assert link.next()[0] == WELCOME
        assert link.next()[:2] == [PONG, 1]
        link.ended_with("bad_frame")


def test_what_comes_after_a_breach_is_not_heard(port: int) -> None:
    with opened(port, "silenced") as link, opened(port, "listener") as listener:
        listener.send(Watch(1, ["silenced"]))
        listener.next()
        link.send_bytes(b"\0\0\0\0" + framed(encode(SetStatus(1, "dnd"))))
        link.ended_with("bad_frame")
        assert listener.next()[1][1] == "offline", "the grace of 0 is over, and dnd was never shown"


def test_nothing_of_a_hostile_name_reaches_the_log_raw(port: int, beside: Bystander, tmp_path: Any) -> None:
    with Daemon(tmp_path / "log") as daemon:
        with Wire(daemon.port) as link:
            link.send([1, [1], "", "eve\nCRITICAL fake", "x"])
            link.ended_with("bad_hello")
        with opened(daemon.port, "caf\u00e9") as link:
            link.send_bytes(b"\0\0\0\0")
            link.ended_with("bad_frame")
    log = daemon.log()
    assert "fake" not in log
    assert "bad_frame: closing 'caf\u00e9/laptop'" in log


def test_what_comes_behind_a_bye_does_not_count(port: int) -> None:
    with opened(port, "watcher") as watcher, opened(port, "leaver") as leaver:
        watcher.send(Watch(1, ["leaver"]))
        watcher.until(RECORDS)
        leaver.send(Ping(1), Bye(), Ping(2), SetStatus(3, "dnd", text="after the bye"))
        assert [frame[:2] for frame in leaver.rest()] == [[PONG, 1]]
        record = watcher.until(PRESENCE)[1]
        assert record[1:3] == ["offline", ""]
        watcher.send(Get(2, ["leaver"]))
        assert watcher.until(RECORDS)[4][0][1:3] == ["offline", ""]
