"""One TCP connection to a server: opened, greeted, its bytes cut into messages. Knows no requests and no retries."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from presenced.address import Url
from presenced.client import frame_log
from presenced.errors import CODES, AuthError, ConnectionLost, PresenceError, ProtocolError
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import BadMessage, decode_server, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import ClientMessage, Goodbye, ServerMessage, Welcome

BYE_TIMEOUT_S = 1.0
"""How long the server may take to close after our bye."""

_OUT_OF_TIME = (9, 10)
"""OpenSSL's codes for a certificate that is not valid yet, or has expired: time or its operator heals that."""

_AUTH = frozenset({"bad_token", "token_expired", "token_revoked", "token_early"})
_PROTOCOL = frozenset(
    {"bad_frame", "frame_too_large", "frame_timeout", "hello_required", "hello_timeout", "bad_hello"}
) | {"bad_version"}


class ClientLink(asyncio.Protocol):
    """The bytes of one connection. `lost` is done once it is over, with the reason; it never raises by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop, peer: str) -> None:
        self._loop = loop
        self._peer = peer
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self._transport: asyncio.Transport | None = None
        self._handler: Callable[[ServerMessage], None] | None = None
        self._early: list[ServerMessage] = []
        """Messages that came with the welcome, before `attach`: the user's own state is one."""
        self._reason: PresenceError | None = None
        self._heard = False
        self._is_told = False
        """Whether the log is told of frames. Looked up for each write and not for each frame that comes, which would
        cost 0.2 us: a level that is set later counts from the next heartbeat on."""
        self.heard_ms = 0
        self.opened_ms = 0
        self.greeting: asyncio.Future[Welcome] = loop.create_future()
        self.lost: asyncio.Future[PresenceError] = loop.create_future()

    def attach(self, handler: Callable[[ServerMessage], None]) -> None:
        """From now on each message goes to `handler`, which must not raise."""
        self._handler = handler
        early, self._early = self._early, []
        for message in early:
            handler(message)

    def send(self, *messages: ClientMessage) -> None:
        """Put messages on their way in one write; without effect once the link is lost."""
        if self._transport is not None and not self.lost.done():
            payloads = [encode(message) for message in messages]
            self._is_told = frame_log.log.isEnabledFor(logging.DEBUG)
            if self._is_told:
                for message, payload in zip(messages, payloads, strict=True):
                    frame_log.tell(self._peer, "sent", message, len(payload))
            self._transport.write(b"".join([frame(payload) for payload in payloads]))

    def drop(self, reason: PresenceError) -> None:
        """End the link at once, for this reason (the first one given counts)."""
        if self._reason is None:
            self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    async def leave(self, message: ClientMessage | None) -> None:
        """Send a last message, wait until the server has read it, close. Bounded; cancelling cuts it short."""
        try:
            if message is not None and not self.lost.done():
                self.send(message)
                # The server closes after a bye. Closing first could reset the connection while something from the
                # server is unread here, and the reset would overtake the bye.
                await asyncio.wait({self.lost}, timeout=BYE_TIMEOUT_S)
            if self._transport is not None and not self.lost.done():
                self._transport.close()
                await asyncio.wait({self.lost}, timeout=BYE_TIMEOUT_S)
        finally:
            if self._transport is not None:
                self._transport.abort()

    def leave_behind(self, message: ClientMessage) -> None:
        """The same without waiting."""
        self.send(message)
        if self._transport is not None:
            self._loop.call_later(BYE_TIMEOUT_S, self._transport.abort)

    def __repr__(self) -> str:
        how = "lost" if self.lost.done() else "open" if self._is_greeted() else "opening"
        return f"<Link to {self._peer}, {how}>"

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.opened_ms = self.heard_ms = int(self._loop.time() * 1000)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self.heard_ms = int(self._loop.time() * 1000)
        try:
            self._reader.feed(data)
            while self._reason is None and (payloads := self._reader.take(64)):
                for payload in payloads:
                    self._receive(payload)
        except (ProtocolError, BadMessage) as error:
            # The advice after the semicolon is for a client that sent this; here a server did.
            self.drop(self._strange(str(error).partition(";")[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._reason
        if reason is None and not self._is_greeted() and not self._heard:
            reason = ConnectionLost(
                "no_answer",
                f"{self._peer} closed the connection without a word; is it presenced, and is TLS as it expects?",
            )
        if reason is None:
            detail = f" ({exc})" if exc is not None else ""
            reason = ConnectionLost("link_lost", f"the link to {self._peer} was lost{detail}")
        if not self.lost.done():
            self.lost.set_result(reason)
        if not self.greeting.done():
            self.greeting.set_exception(reason)
            self.greeting.exception()  # Retrieved here: the caller who waited may have been cancelled.

    # --- within -----------------------------------------------------------------------------------------------

    def _is_greeted(self) -> bool:
        return self.greeting.done() and not self.greeting.cancelled() and self.greeting.exception() is None

    def _receive(self, payload: bytes) -> None:
        try:
            message = decode_server(payload)
        except BadMessage as error:
            if error.code == "unknown_type" and self._is_greeted():
                return  # A server of a later version sent something that this client does not know (protocol.md 4.1).
            raise
        if self._is_told:
            frame_log.tell(self._peer, "received", message, len(payload))
        if isinstance(message, Goodbye):
            self.drop(reason_of(message))
        elif self._handler is not None:
            self._handler(message)
        elif isinstance(message, Welcome) and not self.greeting.done():
            self.greeting.set_result(message)
        elif self._is_greeted():
            self._early.append(message)
        else:
            self.drop(self._strange("it did not begin with welcome"))

    def _strange(self, detail: str) -> ProtocolError:
        if self._is_greeted():
            sentence = (
                f"what came from {self._peer} is no message of presenced's protocol ({detail}); it was hung up on"
            )
            return ProtocolError("garbled", sentence, temporary=True)
        return ProtocolError(
            "not_presenced",
            f"what answers at {self._peer} does not speak presenced's protocol ({detail}); is the port right?",
            temporary=False,
        )


def reason_of(goodbye: Goodbye) -> PresenceError:
    """The exception for a goodbye."""
    sentence = goodbye.message
    if goodbye.code in _AUTH:
        return AuthError(goodbye.code, sentence, retry_ms=goodbye.retry_ms)
    if goodbye.code in _PROTOCOL:
        return ProtocolError(goodbye.code, sentence, retry_ms=goodbye.retry_ms)
    # A code of a later version counts as temporary (protocol.md 4.4).
    temporary = goodbye.code not in CODES or CODES[goodbye.code].temporary
    return ConnectionLost(goodbye.code, sentence, temporary=temporary, retry_ms=goodbye.retry_ms)


async def open_link(
    url: Url, greet: Callable[[], Sequence[ClientMessage]], tls: ssl.SSLContext | None, timeout_s: float
) -> tuple[ClientLink, Welcome]:
    """Connect, say what `greet` returns (a hello, and what is to leave behind it in the same write), wait for the
    welcome; all of it within `timeout_s`. Raises `PresenceError` only."""
    loop = asyncio.get_running_loop()
    peer = f"{url.host}:{url.port}"
    link = ClientLink(loop, peer)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.create_connection(
                lambda: link,
                url.host,
                url.port,
                ssl=tls,
                server_hostname=url.host if tls is not None else None,
            )
            link.send(*greet())
            welcome = await link.greeting
            return link, welcome
    except BaseException as error:
        link.drop(ConnectionLost("link_lost", "the attempt was given up"))
        raise _explain(error, url, peer, timeout_s, link) from None


def _explain(error: BaseException, url: Url, peer: str, timeout_s: float, link: ClientLink) -> BaseException:
    """What went wrong, as a `PresenceError` that says what to do next; anything else is passed through."""
    if isinstance(error, PresenceError) or not isinstance(error, Exception):
        return error
    if isinstance(error, TimeoutError) and error.errno is None:
        if link.opened_ms:
            sentence = f"{peer} accepted the connection but said nothing for {timeout_s:g} s; is it presenced?"
            return ConnectionLost("no_answer", sentence)
        return ConnectionLost(
            "unreachable", f"{peer} did not answer within {timeout_s:g} s; check the host, the port and firewalls"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        is_temporary = error.verify_code in _OUT_OF_TIME
        advice = "its operator has to renew it" if is_temporary else "give the CA that signed it"
        sentence = f"the certificate of {peer} is not trusted ({error.verify_message}); {advice}"
        return ConnectionLost("tls_failed", sentence, temporary=is_temporary)
    if url.tls and isinstance(error, ssl.SSLEOFError | ConnectionAbortedError | ConnectionResetError):
        sentence = f"{peer} broke off the TLS handshake; if it does so each time, it has no TLS: write presence://"
        return ConnectionLost("tls_failed", sentence)
    if url.tls and isinstance(error, ssl.SSLError):
        sentence = f"{peer} does not speak TLS as expected ({error}); without TLS, write presence://"
        return ConnectionLost("tls_failed", sentence, temporary=False)
    if isinstance(error, OSError):
        # asyncio writes the text of a refused connection itself; a failed name lookup has a negative number.
        detail = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        sentence = f"cannot reach {peer} ({detail}); is presenced running there, on this port?"
        return ConnectionLost("unreachable", sentence)
    return error
