"""The HTTP listener: what is asked properly is answered, and whatever else comes is bounded and refused in words."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from presenced.config import Settings
from presenced.http.door import HttpRequest
from presenced.http.heads import HEAD_BYTES_MAX, BadRequest, Exchange, begins_wrong
from presenced.http.listener import ACCEPTS_PER_PASS
from presenced.http.origins import is_known
from presenced.http.page import HttpPage
from presenced.http.places import HEALTH_CONNECTIONS
from presenced.ops import page_door as page_door_module
from presenced.ops.page_door import REQUEST_GAP_S, PageDoor
from presenced.server.listeners import CannotListen
from presenced.server.report import Report
from presenced.sync import connect
from tests.ops.http_stand import CONNECTIONS_MAX, Stand, on_both_loops, page_listener, pages, run, standing
from tests.support.daemon import Daemon
from tests.support.in_process import LOOPS, InProcess
from tests.support.status import made_log, made_status

# --- what is asked properly ---------------------------------------------------------------------------------------


@on_both_loops()
async def test_health(stand: Stand) -> None:
    answer = await stand.get("/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


@on_both_loops()
async def test_readiness(stand: Stand) -> None:
    assert (await stand.get("/readyz")).body == b"ready\n"
    for status, reason in (
        (made_status(state="starting"), "starting"),
        (made_status(state="draining"), "draining"),
        (made_status(log=made_log(state="failed")), "the log failed"),
        (made_status(log=made_log(state="gone")), "is gone"),
    ):
        stand.pages._take = lambda status=status: status
        answer = await stand.get("/readyz")
        assert answer.status == 503
        assert answer.body.decode().startswith("not ready: ") and reason in answer.body.decode()
    for state in ("busy", "full"):
        stand.pages._take = lambda state=state: made_status(log=made_log(state=state))
        assert (await stand.get("/readyz")).status == 200, "presence goes on without the disk"


@on_both_loops()
async def test_every_page_that_the_first_one_links_to_is_there(stand: Stand) -> None:
    links = re.findall(r'href="([^"]+)"', (await stand.get("/")).body.decode())
    assert {"/metrics", "/healthz", "/readyz", "/statusz", "/statusz.json"} == {*links}
    for link in links:
        assert (await stand.get(link)).status == 200
    assert (await stand.get("/metrics?format=x")).headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await stand.get("/statusz.json")).headers["Content-Type"] == "application/json"


@on_both_loops()
async def test_a_connection_serves_one_request_after_the_other(stand: Stand) -> None:
    peer = await stand.peer()
    for path in ("/healthz", "/readyz", "/nowhere", "/healthz"):
        peer.ask(path)
        answer = await peer.answer()
        assert answer.status == (404 if path == "/nowhere" else 200)
        assert "Connection" not in answer.headers
    assert len(stand.http.connections) == 1


@on_both_loops()
async def test_head_is_get_without_the_body(stand: Stand) -> None:
    peer = await stand.peer()
    peer.ask("/metrics", "HEAD")
    head = await peer.answer(has_body=False)
    peer.ask("/metrics")
    got = await peer.answer()
    assert head.headers["Content-Length"] == str(len(got.body))
    assert head.status == 200


@on_both_loops()
async def test_http_1_0_and_close_end_the_connection(stand: Stand) -> None:
    for request in (b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n"):
        peer = await stand.peer()
        peer.send(request)
        answer = await peer.answer()
        assert answer.headers["Connection"] == "close"
        assert await peer.end() == b""


@on_both_loops()
async def test_a_proxy_may_give_the_whole_address(stand: Stand) -> None:
    assert (await stand.get("http://localhost:9250/healthz?x=/y")).body == b"ok\n"


@on_both_loops()
async def test_bytes_may_come_one_by_one(stand: Stand) -> None:
    peer = await stand.peer()
    for byte in b"\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n":
        peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await peer.answer()).body == b"ok\n"


@on_both_loops()
async def test_a_peer_that_has_said_all_is_still_answered(stand: Stand) -> None:
    peer = await stand.peer()
    peer.ask("/healthz")
    peer.ask("/readyz")
    peer.writer.write_eof()
    assert (await peer.answer()).body == b"ok\n"
    assert (await peer.answer()).body == b"ready\n"
    assert await peer.end() == b""


@on_both_loops()
async def test_browsers_are_told_to_run_and_keep_nothing(stand: Stand) -> None:
    for path in ("/", "/metrics", "/statusz", "/nowhere"):
        headers = (await stand.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


# --- what is not --------------------------------------------------------------------------------------------------

HOST = b"Host: x\r\n"
REFUSED: dict[str, tuple[bytes, int]] = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a presence frame": (b"\x00\x00\x00\x05\x95\x01\x01\x01\x01", 400),
    "spaces": (b"   GET / HTTP/1.1\r\n\r\n", 400),
    "words": (b"hello there, who are you\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a bare line feed in a header": (b"GET / HTTP/1.1\r\nA: b\nHost: x\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a control character in the path": (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a path in UTF-8": ("GET /\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode(), 400),
    "a relative path": (b"GET metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no host in the address": (b"GET http:///metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "half an IPv6 address": (b"GET http://[::1/metrics HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\n" + HOST + b"abc\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    "NUL in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: \x00\r\n\r\n", 400),
    "a length that is none": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        400,
    ),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "a carriage return in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rc\r\n\r\n", 400),
    "a method in small letters": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "an empty name": (b"GET / HTTP/1.1\r\n" + HOST + b": b\r\n\r\n", 400),
    "DELETE": (b"DELETE /metrics HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "OPTIONS": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "a body": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", 413),
    "a chunked body": (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    "a long path": (b"GET /" + b"a" * HEAD_BYTES_MAX, 431),
    "long headers": (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 2_000, 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 100 + b"\r\n", 431),
    "a megabyte": (b"A" * 1_000_000, 431),
}


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name: str, loop_name: str) -> None:
    data, status = REFUSED[name]

    async def refused(stand: Stand) -> None:
        peer = await stand.peer()
        peer.send(data)
        answer = await peer.answer()
        assert answer.status == status
        assert answer.headers["Connection"] == "close"
        assert ("Allow" in answer.headers) == (status == 405)
        assert re.fullmatch(rb"[^\n<>]{20,}\n", answer.body), "one sentence"
        assert await peer.end() == b"", "nothing after it is taken for a request"
        assert (await stand.get("/healthz")).status == 200

    run(loop_name, refused)


@on_both_loops()
async def test_what_is_echoed_is_escaped_and_plain(stand: Stand) -> None:
    answer = await stand.get("/<script>alert(1)</script>")
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert b"/statusz" in answer.body


@given(st.binary(max_size=300) | st.from_regex(rb"(GET|HEAD|PUT) /[ -~]{0,9} HTTP/1\.[01]\r\n([ -~]{0,9}\r\n){0,4}"))
def test_no_head_breaks_the_reader(head: bytes) -> None:
    begins_wrong(head)
    try:
        request = Exchange().read(head + b"\r\n\r\n")
    except BadRequest as error:
        assert error.status in (400, 405, 411, 413, 431, 505)
        assert error.sentence
    else:
        assert request.path.startswith("/")


# --- bounded ------------------------------------------------------------------------------------------------------


@on_both_loops()
async def test_requests_sent_ahead_are_answered_in_order_and_not_all_at_once(stand: Stand) -> None:
    peer = await stand.peer()
    paths = ["/healthz", "/nowhere", "/readyz"] * 8
    began_s = time.monotonic()
    for path in paths:
        peer.ask(path)
    for path in paths:
        answer = await peer.answer()
        assert {"/healthz": b"ok\n", "/readyz": b"ready\n"}.get(path, answer.body) == answer.body
        assert answer.status == (404 if path == "/nowhere" else 200)
    assert time.monotonic() - began_s >= (len(paths) - 1) * REQUEST_GAP_S * 0.9


@pytest.mark.parametrize("loop_name", LOOPS)
def test_more_sent_ahead_than_is_kept(loop_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_door_module, "REQUEST_GAP_S", 0.0)

    async def many(stand: Stand) -> None:
        peer = await stand.peer()
        number = 700
        most = 0

        async def look() -> None:
            nonlocal most
            while True:
                most = max([most, *(len(connection.buffer) for connection in stand.http.connections)])
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        for _ in range(number):
            peer.ask("/healthz?" + "x" * 1_000)
        for _ in range(number):
            assert (await peer.answer()).status == 200
        looking.cancel()
        assert most < HEAD_BYTES_MAX + (1 << 18), "what is unread stays with the sender"

    run(loop_name, many)


@on_both_loops()
async def test_a_page_that_costs_is_not_made_for_everyone_who_asks(stand: Stand) -> None:
    made = 0

    def take() -> object:
        nonlocal made
        made += 1
        return made_status()

    stand.pages._take = take
    began_s = time.monotonic()
    peers = [await stand.peer() for _ in range(8)]
    for _ in range(5):
        for peer in peers:
            peer.ask("/statusz")
        for peer in peers:
            assert (await peer.answer()).status == 200
    passed_s = time.monotonic() - began_s
    assert 1 <= made <= passed_s / 0.1 + 1


@on_both_loops(idle_s=0.3)
async def test_trickling_does_not_keep_a_connection(stand: Stand) -> None:
    peer = await stand.peer()
    began_s = time.monotonic()

    async def send() -> None:
        peer.send(b"GET / HTTP/1.1\r\n")
        while True:
            peer.send(b"A: b\r\n")
            await asyncio.sleep(0.01)

    sending = asyncio.create_task(send())
    answer = await peer.answer()
    assert answer.status == 408
    assert time.monotonic() - began_s >= 0.25, "not before its time"
    sending.cancel()
    assert await peer.end() == b""


@on_both_loops(idle_s=0.2)
async def test_silence_is_not_kept_either(stand: Stand) -> None:
    fresh, served = await stand.peer(), await stand.peer()
    served.ask("/healthz")
    assert (await served.answer()).status == 200
    assert await fresh.end() == b""
    assert await served.end() == b""


@on_both_loops(idle_s=0.3)
async def test_a_peer_that_does_not_read_is_cut_off(stand: Stand) -> None:
    stand.pages.answer = lambda path: HttpPage(200, "text/plain", b"x" * (16 << 20))  # type: ignore[method-assign]
    with socket.create_connection(("127.0.0.1", stand.http.port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        await stand.until(lambda: len(stand.http.connections) == 1)
        await stand.until(lambda: not stand.http.connections)


@on_both_loops()
async def test_the_longest_without_a_request_gives_way(stand: Stand) -> None:
    silent = [await stand.peer() for _ in range(CONNECTIONS_MAX - 1)]
    await stand.until(lambda: len(stand.http.connections) == CONNECTIONS_MAX - 1)
    kept = await stand.peer()
    kept.ask("/healthz")
    assert (await kept.answer()).status == 200
    silent[0].ask("/healthz")
    assert (await silent[0].answer()).status == 200, "it has begun to wait anew"
    silent[2].send(b"GET / HTTP/1.1\r\n")
    await stand.until(lambda: any(connection.buffer for connection in stand.http.connections))
    for _ in range(2):
        newcomer = await stand.peer()
        newcomer.ask("/")
        assert (await newcomer.answer()).status == 200
    assert await silent[1].end() == b""
    said = await silent[2].answer()
    assert said.status == 503 and b"was not here whole" in said.body
    for peer in (kept, silent[0], silent[3]):
        peer.ask("/healthz")
        assert (await peer.answer()).status == 200


@on_both_loops()
async def test_half_sent_requests_keep_nobody_out(stand: Stand) -> None:
    for _ in range(4 * CONNECTIONS_MAX):
        (await stand.peer()).send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    for path in ("/healthz", "/readyz", "/", "/metrics"):
        assert (await stand.get(path)).status == 200
    most = CONNECTIONS_MAX + HEALTH_CONNECTIONS
    await stand.until(lambda: len(stand.http.connections) <= most)


@on_both_loops(idle_s=60.0)
async def test_health_is_told_while_all_others_are_being_answered(stand: Stand) -> None:
    page = stand.pages.answer
    large = HttpPage(200, "text/plain", b"x" * (16 << 20))
    stand.pages.answer = lambda path: large if path == "/" else page(path)  # type: ignore[method-assign]
    busy = [socket.create_connection(("127.0.0.1", stand.http.port)) for _ in range(CONNECTIONS_MAX)]
    try:
        for peer in busy:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await stand.until(lambda: sum(connection.full for connection in stand.http.connections) == CONNECTIONS_MAX)
        for _ in range(2 * HEALTH_CONNECTIONS):
            assert (await stand.get("/healthz")).status == 200
            assert (await stand.get("/readyz")).status == 200
        refused = await stand.get("/metrics")
        assert refused.status == 503 and str(CONNECTIONS_MAX).encode() in refused.body
        assert all(connection.full for connection in list(stand.http.connections)[:CONNECTIONS_MAX])
    finally:
        for peer in busy:
            peer.close()


@on_both_loops()
async def test_connections_are_bounded_whatever_they_do(stand: Stand) -> None:
    most = 0
    for number in range(3 * CONNECTIONS_MAX):
        peer = await stand.peer()
        peer.send((b"", b"\xff", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")[number % 4])
        most = max(most, len(stand.http.connections))
    assert (await stand.get("/healthz")).status == 200
    assert most <= CONNECTIONS_MAX + HEALTH_CONNECTIONS + ACCEPTS_PER_PASS


@on_both_loops()
async def test_a_peer_that_resets(stand: Stand) -> None:
    for data in (b"", b"GET", b"GET /statusz HTTP/1.1\r\nHost: x\r\n\r\n" * 9):
        with socket.create_connection(("127.0.0.1", stand.http.port)) as peer:
            peer.sendall(data)
            await stand.until(lambda: len(stand.http.connections) == 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stand.until(lambda: not stand.http.connections)
    for data in (b"\x16", b"POST / HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.0\r\n\r\n") * 20:
        # Gone before the answer, or just after it.
        with socket.create_connection(("127.0.0.1", stand.http.port)) as peer:
            peer.sendall(data)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if len(data) % 2:
                await asyncio.sleep(0)
        await stand.until(lambda: not stand.http.connections)
    assert (await stand.get("/healthz")).status == 200


@on_both_loops()
async def test_a_page_that_fails_is_told_and_logged(stand: Stand) -> None:
    def fail(path: str) -> HttpPage:
        raise RuntimeError("a figure is missing")

    events: list[tuple[str, int]] = []
    stand.pages.answer = fail  # type: ignore[method-assign]
    stand.http.report.event = lambda now_ms, cause, text, *, level, exc: events.append((cause, level))  # type: ignore
    peer = await stand.peer()
    for _ in range(2):
        peer.ask("/metrics")
        answer = await peer.answer()
        assert answer.status == 500
        assert b"figure" not in answer.body
    assert events == [("http", logging.ERROR)] * 2


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "198.51.100.7"])
async def test_pages_for_this_machine_alone(peer: str) -> None:
    answers: list[HttpPage] = []

    class Asked:
        def __init__(self, path: str) -> None:
            self.request = HttpRequest("GET", path, "", "", {}, b"", peer, False)

        answer = staticmethod(answers.append)

    door = PageDoor(pages(), Report(), lambda: False)
    for path in ("/metrics", "/healthz"):
        door.open(Asked(path))  # type: ignore[arg-type]
    while len(answers) < 2:
        await asyncio.sleep(0.001)
    assert [answer.status for answer in answers] == [403 if peer.startswith("198") else 200, 200]


# --- the listener -------------------------------------------------------------------------------------------------


async def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen) as caught:
            await page_listener().listen(address)
    assert caught.value.address == address
    assert caught.value.reason.errno == errno.EADDRINUSE


def test_the_daemon_says_which_address_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "presenced", "serve", "--dev", "--listen", "127.0.0.1:0", "--http", address],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
    assert done.returncode == 75
    assert f"{address} is in use" in done.stderr and "http.address" in done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


async def test_an_address_of_elsewhere_is_named() -> None:
    with pytest.raises(CannotListen) as caught:
        await page_listener().listen("203.0.113.1:0")
    assert caught.value.address == "203.0.113.1:0"


async def test_an_inherited_socket_is_used() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    http = page_listener()
    await http.listen("", sock)
    stand = Stand(http)
    try:
        assert http.port == sock.getsockname()[1]
        assert http.url == f"http://127.0.0.1:{http.port}"
        assert (await stand.get("/healthz")).status == 200
    finally:
        await stand.close()


async def test_being_open_to_the_network_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "presenced"):
        async with standing():
            assert not caplog.records
        http = page_listener()
        await http.listen("0.0.0.0:0")
        await http.close()
    assert "without authentication" in caplog.text


@on_both_loops()
async def test_closing_ends_every_connection_and_the_listener(stand: Stand) -> None:
    idle, partial = await stand.peer(), await stand.peer()
    partial.send(b"GET /")
    await stand.until(lambda: sorted(len(connection.buffer) for connection in stand.http.connections) == [0, 5])
    port = stand.http.port
    await stand.http.close()
    await stand.http.close()
    assert await idle.end() == b"" == await partial.end()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)


# --- beside presence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop_name", LOOPS)
def test_presence_goes_on_beside_hostile_connections(loop_name: str) -> None:
    """As many connections as there may be ask for the dearest page without end; links are served all the same."""
    with InProcess(loop_name, http="127.0.0.1:0") as node:
        port = node.ask(lambda _: node.operations.http.port)
        flood = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS_MAX)]
        try:
            for number, peer in enumerate(flood):
                peer.setblocking(False)
                peer.send(b"\xff" * 100_000 if number % 4 == 0 else b"GET /statusz HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
            with connect(f"presence://alice@127.0.0.1:{node.port}/laptop") as alice:
                for status in ("away", "dnd", "online") * 5:
                    alice.set_status(status)
                    node.until(lambda server: server.engine.users["alice"].record.status == status)  # noqa: B023
        finally:
            for peer in flood:
                peer.close()
        assert not node.loop_errors
    assert not node.operations.http.connections


# --- by which name ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "host"),
    [
        (b"127.0.0.1:5251", "127.0.0.1"),
        (b"[2001:db8::1]:5251", "2001:db8::1"),
        (b"[::1]", "::1"),
        (b"Presence.Example.", "presence.example"),
        (b"presence.example:80", "presence.example"),
        (b"", ""),
    ],
)
def test_the_host_of_a_request(header: bytes, host: str) -> None:
    assert Exchange().read(b"GET / HTTP/1.1\r\nHost: " + header + b"\r\n\r\n").host == host


def test_no_stranger_s_name_is_answered_but_for_health(tmp_path: Path) -> None:
    """A page whose name was made to point here would read it all in the browser of somebody at this machine."""
    hosts = {"PRESENCED_HTTP__HOSTS": "Presence.example , other.example"}
    with Daemon(tmp_path / "log", "--http", "127.0.0.1:0", environ=hosts) as daemon:
        port = int(daemon.until_log("at presence://").split("http://127.0.0.1:")[1].split(";")[0])

        def answered(path: str, *host: str) -> int:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as peer:
                version = "1.1" if host else "1.0"
                peer.sendall(f"GET {path} HTTP/{version}\r\n{''.join(f'Host: {one}' for one in host)}\r\n\r\n".encode())
                return int(peer.recv(65_536).split(b" ")[1])

        for known in ("127.0.0.1", f"127.0.0.1:{port}", "localhost", f"LOCALHOST:{port}", "[::1]", "192.0.2.1"):
            assert answered("/statusz.json", known) == 200, known
        for known in (socket.gethostname(), "presence.example:80", "other.example"):
            assert answered("/metrics", known) == 200, known
        assert answered("/metrics") == 200, "no browser leaves it out"
        for stranger in (
            "evil.example",
            f"evil.example:{port}",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "1",
        ):
            for path in ("/", "/metrics", "/statusz", "/statusz.json"):
                assert answered(path, stranger) == 421, (path, stranger)
            for path in ("/healthz", "/readyz"):
                assert answered(path, stranger) == 200, (path, stranger)
        assert "WARNING http: a request is refused: 'evil.example' is not a known name of this machine" in daemon.log()


def test_any_name_is_answered_where_that_is_wanted() -> None:
    assert is_known("evil.example", Settings(http_hosts="*").http_names())
    assert not is_known("evil.example", Settings().http_names())
    assert is_known("metrics.internal", Settings(http="metrics.internal:5251").http_names())
