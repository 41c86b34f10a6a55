"""Receivers that are broken or mean: they cost a try each, and nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from presenced.webhooks.http_client import retry_after_ms
from tests.support.certificates import make_certificate
from tests.support.until import eventually
from tests.webhooks.feed import Feed
from tests.webhooks.receiver import OK, Posted, Receiver, status
from tests.webhooks.stand import plan, posting


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    yield made
    await made.close()


async def tried(receiver: Receiver, reason: str, says: str, **chosen: object) -> None:
    """An event is tried and fails so."""
    feed = Feed()
    async with posting(feed, plan(await receiver.open(), **chosen)) as webhooks:
        feed.add("a")
        await eventually(lambda: webhooks.status().failures[reason])
        found = webhooks.status()
    assert says in found.error
    assert (found.accepted, feed.position) == (0, 0)


async def test_one_that_never_answers_holds_up_nobody_but_the_user(receiver: Receiver) -> None:
    dropped: list[str] = []

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        if posted.events[0]["data"]["user"] == "a":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                dropped.append("a")
        return OK

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open(), timeout_ms=100, concurrency=2)) as webhooks:
        feed.add("a")
        for _ in range(50):
            feed.add("b")
        await eventually(lambda: webhooks.status().accepted == 50)
        await eventually(lambda: webhooks.status().failures["timeout"])
        assert webhooks.status().error == "no answer came within 100ms"


@pytest.mark.parametrize("body_head", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
async def test_one_that_sends_without_an_end(receiver: Receiver, body_head: bytes) -> None:
    sent = 0

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + body_head + b"\r\n\r\n")
        piece = b"x" * 65_536
        if b"chunked" in body_head:
            piece = b"10000\r\n" + piece + b"\r\n"
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())) as webhooks:
        feed.add("a")
        feed.add("a")
        await eventually(lambda: feed.position == 2)
        # The status was known.
        assert (webhooks.status().accepted, sum(webhooks.status().failures.values())) == (2, 0)
    # What is not read is in the buffers of the two sockets.
    assert receiver.connections == 2 and sent < 2 * 12_000_000


async def test_one_whose_body_does_not_come_is_believed_its_status(receiver: Receiver) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal")
        await writer.drain()
        await asyncio.get_running_loop().create_future()

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open(), timeout_ms=900)) as webhooks:
        feed.add("a")
        await eventually(lambda: feed.position == 1)
        assert sum(webhooks.status().failures.values()) == 0


@pytest.mark.parametrize(
    ("said", "reason", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000, "protocol", "is not HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol", "is not HTTP/1.1"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50, "protocol", "more than 8 interim answers"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol", ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "protocol", "is not HTTP/1.1"),
        (b"HTTP/1.1 99999 No\r\n\r\n", "protocol", "is not HTTP/1.1"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "3xx", "the receiver said 304; redirects are not followed"),
        (b"\x00" * 50_000, "protocol", "is not HTTP/1.1"),
    ],
)
async def test_answers_that_are_none(receiver: Receiver, said: bytes, reason: str, says: str) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return said

    receiver.answer = answer
    await tried(receiver, reason, says)


async def test_an_answer_that_drips_is_given_no_more_time_than_any(receiver: Receiver) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)

    receiver.answer = answer
    await tried(receiver, "timeout", "no answer came within", timeout_ms=200)


async def test_a_connection_that_is_closed_without_an_answer(receiver: Receiver) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> None:
        return None

    receiver.answer = answer
    await tried(receiver, "reset", "was closed before an answer")


async def test_a_redirect_leads_nowhere(receiver: Receiver) -> None:
    inner = Receiver()
    inner_url = await inner.open()

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return status(307, f"Location: {inner_url}")

    receiver.answer = answer
    await tried(receiver, "3xx", "the receiver said 307; redirects are not followed")
    await inner.close()
    assert inner.connections == 0


async def test_no_proxy_is_asked(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    feed = Feed()
    async with posting(feed, plan(await receiver.open())):
        feed.add("a")
        await eventually(lambda: feed.position == 1)


async def test_connections_are_kept_and_one_that_was_closed_meanwhile_is_no_failure(receiver: Receiver) -> None:
    answers = 0

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes | None:
        nonlocal answers
        answers += 1
        if answers % 10 == 0:
            # The answer, and then without a word the end.
            writer.write(OK)
            await writer.drain()
            return None
        return OK

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())) as webhooks:
        for _ in range(40):
            feed.add("a")
        await eventually(lambda: feed.position == 40)
        assert sum(webhooks.status().failures.values()) == 0
    assert receiver.connections == 4
    assert len(receiver.posted) == 40


async def test_a_connection_that_is_closed_just_as_a_request_comes_is_no_failure(receiver: Receiver) -> None:
    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes | None:
        # On a kept connection the second request finds the end.
        return OK if receiver.connections == len(receiver.posted) - dropped else drop()

    dropped = 0

    def drop() -> None:
        nonlocal dropped
        dropped += 1

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())) as webhooks:
        for _ in range(5):
            feed.add("a")
        await eventually(lambda: feed.position == 5)
        assert sum(webhooks.status().failures.values()) == 0
    assert (receiver.connections, dropped) == (5, 4)


@pytest.mark.parametrize(
    "more", [b"ok", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], ids=["body", "second answer"]
)
async def test_what_comes_behind_an_answer_is_none(receiver: Receiver, more: bytes) -> None:
    """Many a receiver sends a body with a 204."""

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        return OK + more if len(receiver.posted) % 2 else status(500)

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())) as webhooks:
        for _ in range(4):
            feed.add("a")
        await eventually(lambda: feed.position == 4)
        failures = webhooks.status().failures
    # Each event but the first was refused once, and an answer that none was given would have accepted it.
    assert {reason: count for reason, count in failures.items() if count} == {"5xx": 3}
    assert len(receiver.posted) == 7


async def test_a_body_that_follows_a_204_later_is_no_answer(receiver: Receiver) -> None:
    """It is in a segment of its own, and the next request may have been sent before it comes."""

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n")
        await eventually(lambda: webhooks.status().accepted == len(receiver.posted))
        return b"ok"

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())) as webhooks:
        for _ in range(4):
            feed.add("a")
        await eventually(lambda: feed.position == 4)
        assert sum(webhooks.status().failures.values()) == 0
    assert len(receiver.posted) == 4


# --- TLS ----------------------------------------------------------------------------------------------------------


def server_context(folder: Path, name: str = "good", *, days: float = 1) -> tuple[ssl.SSLContext, Path]:
    cert, key = make_certificate(folder, name, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


async def test_tls_with_the_name_of_the_url(receiver: Receiver, tmp_path: Path) -> None:
    names: list[str | None] = []
    context, cert = server_context(tmp_path)
    context.sni_callback = lambda _, name, __: names.append(name)
    feed = Feed()
    async with posting(feed, plan(await receiver.open(context), ca_file=str(cert))):
        feed.add("a")
        await eventually(lambda: feed.position == 1)
    assert names == ["localhost"]
    assert receiver.posted[0].headers["host"] == f"localhost:{receiver.port}"


async def test_tls_that_nobody_vouches_for(receiver: Receiver, tmp_path: Path) -> None:
    context, _ = server_context(tmp_path)
    feed = Feed()
    async with posting(feed, plan(await receiver.open(context))) as webhooks:
        said = await webhooks.test()
    assert said.error.startswith(f"TLS with localhost:{receiver.port} failed: self") and not receiver.posted


async def test_tls_of_another_name(receiver: Receiver, tmp_path: Path) -> None:
    context, cert = server_context(tmp_path)
    await receiver.open(context)
    url = f"https://other.example:{receiver.port}/"
    chosen = plan(url, ca_file=str(cert))
    async with posting(Feed(), chosen, look=lambda host, port: ["127.0.0.1"]) as webhooks:
        said = await webhooks.test()
    assert "ostname mismatch" in said.error and not receiver.posted


async def test_tls_that_has_expired(receiver: Receiver, tmp_path: Path) -> None:
    context, cert = server_context(tmp_path, days=-1)
    async with posting(Feed(), plan(await receiver.open(context), ca_file=str(cert))) as webhooks:
        assert "certificate has expired" in (await webhooks.test()).error


async def test_no_tls_where_the_url_says_so(receiver: Receiver) -> None:
    url = (await receiver.open()).replace("http:", "https:")
    async with posting(Feed(), plan(url, timeout_ms=2_000)) as webhooks:
        said = await webhooks.test()
    assert not said.ok and said.error


# --- pauses that are asked for ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("120", 120_000),
        ("0", 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("1.5", 0),
        ("9" * 400, 999_999_999_000),
        ("Thu, 01 Jan 2026 00:01:40 GMT", 100_000),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("Thu, 99 Jan 99999 00:00:00 GMT", 0),
        ("\u0661", 0),
    ],
)
def test_retry_after(text: str, expected_ms: int) -> None:
    assert retry_after_ms(text, 1_767_225_600_000) == expected_ms


async def test_a_pause_is_kept(receiver: Receiver) -> None:
    times: list[float] = []

    async def answer(posted: Posted, writer: asyncio.StreamWriter) -> bytes:
        times.append(asyncio.get_running_loop().time())
        return status(503, "Retry-After: 1") if len(times) == 1 else OK

    receiver.answer = answer
    feed = Feed()
    async with posting(feed, plan(await receiver.open())):
        feed.add("a")
        feed.add("b")
        await eventually(lambda: feed.position == 2)
    # Whatever was under way with the first came at once, and then nothing for a second.
    assert max(after - before for before, after in zip(times, times[1:], strict=False)) >= 0.99
