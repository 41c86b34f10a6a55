"""Events as server-sent events: each stream is a link of its own that follows (protocol.md, section 25.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from presenced import limits
from presenced.errors import PresenceError, RequestError
from presenced.http.api.callers import HttpCaller
from presenced.http.api.codes import Refusal, is_temporary, refusal
from presenced.http.api.pool import client_of, hello_of
from presenced.http.api.requests import EVENT, FOLLOWING
from presenced.http.door import BodyStream, Call
from presenced.http.page import HttpPage
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.local_link import LocalLink
from presenced.wire.messages import (
    Acknowledge,
    Error,
    Event,
    Follow,
    FollowerList,
    Following,
    GetFollowers,
    Goodbye,
    Heartbeat,
    ServerMessage,
    Welcome,
)

EVENT_STREAM = "text/event-stream"

FOLLOW = 1
"""The id of the request that begins a stream. Others come after it."""


class EventPlace(NamedTuple):
    """The place of an event: `EPOCH.SEQ` as its id."""

    epoch: int = 0
    seq: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def read(cls, said: str, what: str) -> EventPlace:
        """What an id says. Raises `RequestError` (`bad_request`)."""
        epoch, dot, seq = said.partition(".")
        if not (dot and epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit()):
            raise RequestError("bad_request", f"{what} is no id of an event, such as 1767225600000.4711")
        if len(said) > 40 or max(int(epoch), int(seq)) > 2**53:
            raise RequestError("bad_request", f"{what} has a number beyond 2^53")
        return cls(int(epoch), int(seq))


class Wanted(NamedTuple):
    """What a stream is to tell."""

    cursor: EventPlace
    name: str


class Followings:
    """All streams, by the users of their links."""

    def __init__(self, admission: Admission, active: ActiveSettings) -> None:
        self._admission = admission
        self._active = active
        self._by_user: dict[str, list[FollowerStream]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_user.values()))

    def __iter__(self) -> Iterator[FollowerStream]:
        return iter([stream for streams in self._by_user.values() for stream in streams])

    def open(self, call: Call, caller: HttpCaller) -> None:
        """Begin to answer a call with a stream, once it follows. Raises `PresenceError`."""
        identity = self._active.identify(hello_of(caller))
        wanted = wanted_of(call.request.query, call.request.headers.get("last-event-id", ""))
        mine = self._by_user.get(identity.user, [])
        if len(mine) >= limits.HTTP_STREAMS_PER_USER_MAX or len(self) >= limits.HTTP_STREAMS_MAX:
            raise PresenceError(
                "stream_limit",
                f"{len(mine)} streams of this user are open of at most {limits.HTTP_STREAMS_PER_USER_MAX}, and "
                f"{len(self)} in all of {limits.HTTP_STREAMS_MAX}; close others first",
                temporary=True,
            )
        stream = FollowerStream(call, wanted, lambda: self._forget(identity.user, stream))
        hello = hello_of(caller, client_of(identity.user))
        stream.open(partial(LocalLink.open, self._admission, hello, identity, peer=f"HTTP of {call.request.peer}"))
        self._by_user.setdefault(identity.user, []).append(stream)

    def acknowledge(self, user: str, name: str, said: str, answer: Callable[[Any], object]) -> None:
        """The follower of this name has handled the events up to this one; `answer` gets it as it stands then, or an
        `Error`. Raises `PresenceError` (`not_followed`, `bad_request`)."""
        cursor = EventPlace.read(said, "the field id")
        for stream in self._by_user.get(user, ()):
            if stream.name == name and stream.is_open:
                stream.acknowledge(cursor, answer)
                return
        raise PresenceError("not_followed", f"no GET /v1/events of {user} follows under the name {name[:40]!r} now")

    def close(self) -> None:
        """End all of them. Idempotent."""
        for stream in self:
            stream.leave()

    def _forget(self, user: str, stream: FollowerStream) -> None:
        mine = self._by_user.get(user, [])
        if stream in mine:
            mine.remove(stream)
        if not mine:
            self._by_user.pop(user, None)


def wanted_of(query: str, last_event_id: str) -> Wanted:
    """What a query and the header ask for. Raises `RequestError`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=8)
    except ValueError:
        raise RequestError("bad_request", "the query cannot be read: write it as after=ID&name=NAME") from None
    said = dict(pairs)
    unknown = next((name for name, _ in pairs if name not in ("after", "name")), None)
    if unknown is not None:
        sentence = f"the query has {unknown[:40]!r}, which is not known; there are after and name"
        if "token" in unknown or unknown.lower() == "authorization":
            sentence = "a token in a URL ends up in logs: send it in the header Authorization"
        raise RequestError("bad_request", sentence)
    if len(said) != len(pairs):
        raise RequestError("bad_request", "the query says something twice")
    place = last_event_id or said.get("after", "")
    what = "the header Last-Event-ID" if last_event_id else "after"
    return Wanted(EventPlace.read(place, what) if place else EventPlace(), said.get("name", ""))


class FollowerStream:
    """One stream: a link that follows, and the answer that tells what comes."""

    def __init__(self, call: Call, wanted: Wanted, forget: Callable[[], object]) -> None:
        self.name = wanted.name
        self._call = call
        self._wanted = wanted
        self._forget = forget
        self._link: LocalLink | None = None
        self._stream: BodyStream | None = None
        """The answer, once it follows."""
        self._is_holding = False
        """The peer does not read, and the link keeps its events."""
        self._epoch = 0
        self._unwritten: list[bytes] = []
        self._asked: dict[int, Callable[[Any], object]] = {}
        self._last_id = FOLLOW
        self._heartbeat_s = limits.HTTP_KEEP_ALIVE_MS / 1000
        self._timer: asyncio.TimerHandle | None = None
        self._began_s = asyncio.get_running_loop().time()

    def open(self, link: Callable[..., LocalLink]) -> None:
        """Open the link and follow. Raises `ProtocolError` (`busy`)."""
        self._link = link(receive=self._receive, closed=self._closed)
        self._call.on_gone(self.leave)
        self._link.ask(Follow(FOLLOW, *self._wanted.cursor, self.name))
        self._timer = asyncio.get_running_loop().call_later(1.0, self._keep)

    @property
    def is_open(self) -> bool:
        """Whether it follows."""
        return self._stream is not None

    def acknowledge(self, cursor: EventPlace, answer: Callable[[Any], object]) -> None:
        """The events up to this one were handled. `answer` gets the follower as it stands then, or an `Error`. Raises
        `RequestError`."""
        if cursor.epoch != self._epoch:
            raise RequestError("bad_request", f"the id is of another epoch than the stream's, which is {self._epoch}")

        def told(reply: Any) -> None:
            followers = reply.followers if isinstance(reply, FollowerList) else ()
            mine = next((one for one in followers if one.name == self.name), None)
            unknown = Error(0, "not_followed", "the follower was forgotten meanwhile")
            answer(mine or (reply if isinstance(reply, Error) else unknown))

        assert self._link is not None
        self._last_id += 1
        self._asked[self._last_id] = told
        self._link.ask(Acknowledge(cursor.seq))
        # The order of a link is kept, so that this is answered behind it.
        self._link.ask(GetFollowers(self._last_id, ""))

    def leave(self) -> None:
        """End it: nobody reads it any more. Idempotent."""
        if self._link is not None:
            self._link.leave()

    # --- what the link tells ----------------------------------------------------------------------------------

    def _receive(self, message: ServerMessage) -> None:
        match message:
            case Event():
                cursor = f"{self._epoch}.{message.seq}"
                self._write(b"id: %b\ndata: %b\n\n" % (cursor.encode(), _as_object(message, EVENT)))
            case Following():
                self._follow(message)
            case Welcome():
                self._heartbeat_s = min(self._heartbeat_s, message.heartbeat_ms / 2_000)
            case Error() if message.id == FOLLOW:
                self._refuse(refusal(message.code, message.message, message.retry_ms))
            case _ if (answer := self._asked.pop(getattr(message, "id", 0), None)) is not None:
                answer(message)

    def _follow(self, following: Following) -> None:
        if self._stream is None:
            head = HttpPage(200, EVENT_STREAM, b"", headers=(("X-Accel-Buffering", "no"),))
            self._stream = self._call.stream(head)
            self._stream.on_drain(self._drained)
        if following.epoch == 0:
            # A browser would come back at once and take the name again; it is told not to, and for what it is.
            self._end(Goodbye("replaced", "another link follows under this name"))
            return
        self._epoch = following.epoch
        cursor = EventPlace(following.epoch, following.seq)
        data = _as_object(following, FOLLOWING)
        self._write(b"event: following\nid: %b\ndata: %b\n\n" % (str(cursor).encode(), data))
        if following.id and self.name and self._wanted.cursor.epoch and not following.reset:
            # Who comes back with a cursor has handled what is before it.
            assert self._link is not None
            self._link.ask(Acknowledge(following.seq))

    def _refuse(self, page: HttpPage) -> None:
        self._call.answer(page)
        self.leave()

    def _closed(self, goodbye: Goodbye) -> None:
        self._link = None
        if self._timer is not None:
            self._timer.cancel()
        code, sentence = goodbye.code or "going_away", goodbye.message or "the stream has ended"
        if self._stream is None:
            self._call.answer(refusal(code, sentence, goodbye.retry_ms))
        else:
            self._end(Goodbye(code, sentence, goodbye.retry_ms))
        for answer in self._asked.values():
            answer(Error(0, code, sentence, goodbye.retry_ms))
        self._asked.clear()
        self._forget()

    # --- what the peer is told --------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if not self._unwritten:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten.append(data)

    def _flush(self) -> None:
        data, self._unwritten = b"".join(self._unwritten), []
        stream = self._stream
        if stream is None or not data:
            return
        stream.write(data)
        if stream.is_full and self._link is not None and not self._is_holding:
            self._is_holding = True
            self._link.hold()

    def _drained(self) -> None:
        if self._link is not None and self._is_holding:
            self._is_holding = False
            self._link.take_on()

    def _keep(self) -> None:
        """Let link and peer hear that the other is there."""
        link, loop = self._link, asyncio.get_running_loop()
        if link is None:
            return
        link.ask(Heartbeat())
        if self._stream is not None:
            if not self._stream.is_full:
                self._write(b":\n\n")
        elif loop.time() - self._began_s > limits.HTTP_REPLY_MS_MAX / 1000:
            self._refuse(refusal("timeout", "the server did not come to follow in time"))
            return
        self._timer = loop.call_later(self._heartbeat_s, self._keep)

    def _end(self, goodbye: Goodbye) -> None:
        """Say why the stream ends, and how long to wait before the next."""
        if self._stream is None:
            return
        words = Refusal(goodbye.code, goodbye.message, is_temporary(goodbye.code), goodbye.retry_ms)
        retry = b"retry: %d\n" % goodbye.retry_ms if goodbye.retry_ms else b""
        self._unwritten.append(b"event: goodbye\n%bdata: %b\n\n" % (retry, msgspec.json.encode(words)))
        self._flush()
        self._stream.close()
        self._stream = None
        self.leave()


def _as_object(message: Any, form: type[msgspec.Struct]) -> bytes:
    return msgspec.json.encode(msgspec.convert(message, form, from_attributes=True))
