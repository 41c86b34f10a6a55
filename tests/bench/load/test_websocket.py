"""The load's side of a WebSocket, held against the library that the server and others use."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from bench.errors import BenchError
from bench.load.websocket import (
    BINARY,
    JSON,
    MSGPACK,
    TEXT,
    accepted,
    client_message,
    handshake,
    messages,
    payload_of,
    said_as,
    whole_messages,
)
from presenced.wire.codec import encode
from presenced.wire.messages import Ping

SIZES = (0, 1, 125, 126, 1_000, 65_535)


def opened() -> tuple[ServerProtocol, bytes]:
    """The library's server after a handshake, and what it answered."""
    server = ServerProtocol()
    server.receive_data(handshake(80, "/ws", JSON))
    (request,) = server.events_received()
    server.send_response(server.accept(request))
    return server, b"".join(server.data_to_send())


@pytest.mark.parametrize("size", SIZES)
def test_a_server_reads_what_the_load_says(size: int) -> None:
    server, _ = opened()
    server.receive_data(client_message(BINARY, b"\x07" * size))
    (frame,) = server.events_received()
    assert (frame.opcode, frame.data, frame.fin) == (Opcode.BINARY, b"\x07" * size, True)


def test_what_a_server_says_is_cut_into_messages() -> None:
    said = [b"x" * size for size in (*SIZES, 65_536)]
    data = b"".join(Frame(Opcode.TEXT, one).serialize(mask=False) for one in said)
    assert list(messages(data)) == [(TEXT, one) for one in said]
    assert whole_messages(data) == (len(said), len(data))
    assert whole_messages(data[:-1]) == (len(said) - 1, len(data) - 65_536 - 10)
    for cut in (1, 2, 65_536):
        with pytest.raises(BenchError, match="in the middle"):
            list(messages(data[:-cut]))
    with pytest.raises(BenchError, match="several"):
        list(messages(Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=False)))


def test_a_handshake_is_accepted_or_the_run_fails() -> None:
    _, answer = opened()
    assert accepted(answer + b"rest") == b"rest"
    with pytest.raises(BenchError, match="400 Bad Request"):
        accepted(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize(
    ("subprotocol", "opcode", "body"), [(JSON, TEXT, b"[4,7]"), (MSGPACK, BINARY, b"\x92\x04\x07")]
)
def test_a_message_of_ours_goes_in_both_encodings(subprotocol: str, opcode: int, body: bytes) -> None:
    assert said_as(subprotocol, Ping(7))[6:] == body
    assert payload_of(subprotocol, opcode, body) == encode(Ping(7))
    with pytest.raises(BenchError, match="frame of kind"):
        payload_of(subprotocol, TEXT + BINARY - opcode, body)
