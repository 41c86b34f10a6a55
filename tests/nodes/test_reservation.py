"""The port of all nodes: theirs alone from the first start to the last end."""

from __future__ import annotations

import socket

import pytest

from presenced.nodes.reservation import Reservation
from presenced.server.listeners import CannotListen, listen


def test_nodes_may_listen_there_and_nobody_else() -> None:
    reserved = Reservation("127.0.0.1", 0, "listen.address")
    try:
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", reserved.port)
        with pytest.raises(CannotListen):
            Reservation("127.0.0.1", reserved.port, "listen.address")
        nodes = [listen("127.0.0.1", reserved.port, is_shared=True)[0] for _ in range(2)]
        for node in nodes:
            node.listen()
        # None of them waits at the socket that reserves.
        for _ in range(32):
            with socket.create_connection(("127.0.0.1", reserved.port), timeout=5):
                pass
        with pytest.raises(CannotListen):
            Reservation("127.0.0.1", reserved.port, "listen.address")
        for node in nodes:
            node.close()
    finally:
        reserved.close()
    listen("127.0.0.1", reserved.port)[0].close()


def test_a_server_that_is_alone_is_not_joined() -> None:
    [alone] = listen("127.0.0.1", 0)
    alone.listen()
    with pytest.raises(CannotListen):
        Reservation("127.0.0.1", alone.getsockname()[1], "listen.address")
    alone.close()
