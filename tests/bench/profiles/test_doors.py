"""The profiles by the door for browsers, tiny, on the real daemon and on the real servers beside it."""

from __future__ import annotations

import os

import pytest

from bench.load import websocket
from bench.machine.cores import Cores
from bench.peers.base import WRONG
from bench.peers.broadcast import Aiohttp, Broadcast, Websockets
from bench.profiles import fanout, idle
from bench.results.outcome import OURS

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)


def test_a_change_is_told_by_each_door_and_by_servers_that_only_pass_on() -> None:
    found = fanout.run(watchers=5, changes=4, publishers=1, rounds=2, warmup=1, door="websocket", cores=CORES)
    assert found.missing == {}
    assert list(found.servers) == [OURS, "presenced, json", "presenced, msgpack", "websockets", "aiohttp"]
    assert {(server.checks.deliveries, *server.checks.faults) for server in found.servers.values()} == {(2 * 4 * 5,)}
    for name in ("presenced, json", "presenced, msgpack"):
        assert len(found.servers[name].figures["cpu_ratio_to_tcp"]) == 2
    assert all("cpu_ratio_to_tcp" not in found.servers[name].figures for name in (OURS, "websockets", "aiohttp"))
    # By what is on the wire: a head of two bytes, and the array.
    sizes = [server.figures["wire_bytes_per_delivery"][0] for server in found.servers.values()]
    over_tcp, in_json, in_msgpack = sizes[:3]
    assert in_msgpack == over_tcp - 2 and in_json > over_tcp


@pytest.mark.parametrize("kind", [Websockets, Aiohttp])
def test_what_a_server_passes_on_otherwise_than_it_was_said_is_wrong(kind: type[Broadcast]) -> None:
    peer = kind(60)

    def told(payload: bytes, opcode: int = websocket.TEXT) -> bytes:
        return bytes((websocket.LAST | opcode, len(payload))) + payload

    right = b"p0" + peer.payload(7)
    assert peer.parse("", told(right) + told(right)[:9]) == ([("p0", 7)], told(right)[:9])
    assert peer.parse("", told(right[:-2] + b"!;"))[0] == [("p0", WRONG)]
    assert peer.parse("", told(right, websocket.BINARY))[0] == [("p0", WRONG)]


def test_devices_that_come_by_websocket_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "DEADLINES_S", 0.0)
    found = idle.run(links=300, rest_s=0.05, rounds=1, door="websocket", cores=CORES)
    figures = found.servers[OURS].figures
    assert found.options["door"] == "websocket"
    assert figures.keys() >= {"rss_bytes_per_device", "idle_cpu_us_per_s", "server_cpu_us_per_hello"}
