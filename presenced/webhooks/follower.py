"""Follows the server's events under a name, by a link inside the process, and hands them to the lanes.

It reads no further than the lanes want. So while the receiver is down the events stay where they are kept, and are read
from there when it is back. What is accepted is acknowledged; a start after a kill goes on behind that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from presenced.errors import ProtocolError
from presenced.server.clocks import Clocks
from presenced.webhooks.lanes import HELD_MAX, Cursor, Lanes
from presenced.webhooks.payloads import delivery_of, lost_delivery
from presenced.webhooks.plan import Plan
from presenced.wire.messages import (
    Acknowledge,
    ClientMessage,
    Error,
    Event,
    Follow,
    Following,
    Goodbye,
    Heartbeat,
    ServerMessage,
    Welcome,
)

USER: Final = "presenced"
NAME: Final = "webhooks"
"""The follower is `webhooks` of the user `presenced`, as `presencectl followers` shows it."""

FROM_NOW_ON: Final = Cursor(0, 0)
"""A place that says nothing: a follower that is known goes on, and a new one begins when its link does."""

FOLLOW_ID: Final = 1
ACKNOWLEDGE_S: Final = 0.2
"""Positions are acknowledged this often at most; the server saves them once a second."""

RETURN_MS: Final = 1_000
RETURN_MS_MAX: Final = 30_000
"""A link that was ended is opened anew after a pause between these."""

log = logging.getLogger("presenced")


class OwnLink(Protocol):
    """A link of this process to its own server, as `server.local_link` has it."""

    @property
    def is_held(self) -> bool:
        """Whether the server takes nothing more for now, so that what is sent waits."""

    def ask(self, message: ClientMessage) -> None:
        """Send a message."""

    def hold(self) -> None:
        """Take nothing for now."""

    def take_on(self) -> None:
        """Take messages again."""

    def leave(self) -> None:
        """End the link."""


OpenLink = Callable[[Callable[[ServerMessage], object], Callable[[Goodbye], object]], OwnLink]
"""Opens a link that says each message of the server, and its end. Raises `ProtocolError`."""


class EventFollower:
    """One named follower. `start`, then `stop`."""

    def __init__(
        self,
        plan: Plan,
        lanes: Lanes,
        open_link: OpenLink,
        clocks: Clocks,
        read: Callable[[], object],
        first: Cursor = FROM_NOW_ON,
    ) -> None:
        """`read` is called when the lanes have something new. `first` is the place behind which the first link
        follows."""
        self.plan = plan
        self.is_following = False
        self.is_taken = False
        """Another program follows under the name. This one does not take it back by itself."""
        self.gaps = 0
        self._lanes = lanes
        self._first = first
        self._open_link = open_link
        self._clocks = clocks
        self._read = read
        self._link: OwnLink | None = None
        self._number = 0
        """Of the link, so that what comes late of the one before is not taken for its word."""
        self._epoch = 0
        """The epoch of the events on this link; 0 = it does not follow yet."""
        self._backlog: deque[Event | Following] = deque()
        """What came, and the lanes do not want yet: no more than the server writes at a time."""
        self._is_held = False
        self._acknowledged = Cursor(0, 0)
        self._failures = 0
        self._is_ending = False
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def adopt(self, plan: Plan) -> None:
        """Go by another plan from the next event on."""
        self.plan = plan

    # --- the link ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open a link; nothing happens if there is one."""
        if self._link is not None:
            return
        self.is_taken = False
        self._stop_timer("return")
        try:
            self._number += 1
            receive, closed = partial(self._receive, self._number), partial(self._closed, self._number)
            self._link = self._open_link(receive, closed)
        except ProtocolError as error:
            self._come_back(error.message, error.retry_ms)

    def end(self) -> None:
        """Open no further link; the one that there is goes on until `stop`."""
        self._is_ending = True
        self._stop_timer("return")

    def stop(self) -> None:
        """Acknowledge what is accepted, and leave. Idempotent."""
        for name in list(self._timers):
            self._stop_timer(name)
        link = self._link
        if link is not None:
            self.acknowledge()
            self._forget_link()
            link.leave()

    def _closed(self, number: int, goodbye: Goodbye) -> None:
        if self._link is not None and number == self._number:
            self._forget_link()
            self._come_back(goodbye.message or goodbye.code or "the link has ended", goodbye.retry_ms)

    def _forget_link(self) -> None:
        self._link, self._epoch, self.is_following, self._is_held = None, 0, False, False
        self._backlog.clear()
        for name in list(self._timers):
            self._stop_timer(name)

    def _come_back(self, why: str, least_ms: int) -> None:
        if self._is_ending:
            return
        self._failures += 1
        bound_ms = min(RETURN_MS_MAX, RETURN_MS << min(self._failures - 1, 10))
        pause_ms = max(least_ms, random.randrange(bound_ms))
        log.warning("webhooks: the events are not followed for now: %s", why)
        self._timers["return"] = asyncio.get_running_loop().call_later(pause_ms / 1000, self._return)

    def _return(self) -> None:
        del self._timers["return"]
        self.start()

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _beat(self, every_s: float) -> None:
        if self._link is not None:
            self._link.ask(Heartbeat())
            self._timers["beat"] = asyncio.get_running_loop().call_later(every_s, self._beat, every_s)

    # --- what the server says ---------------------------------------------------------------------------------

    def _receive(self, number: int, message: ServerMessage) -> None:
        link = self._link
        if link is None or number != self._number:
            return
        match message:
            case Event():
                self._backlog.append(message)
                self.advance()
            case Following():
                self._follow_on(link, message)
            case Welcome():
                self._beat(message.heartbeat_ms / 1000)
                # What is held already is not read a second time, if this link is not the first.
                newest = self._lanes.newest
                epoch, seq = newest if newest.epoch else self._first
                link.ask(Follow(FOLLOW_ID, epoch, seq, NAME))
            case Error() if message.id == FOLLOW_ID:
                self._forget_link()
                link.leave()
                self._come_back(message.message, message.retry_ms)

    def _follow_on(self, link: OwnLink, message: Following) -> None:
        if message.epoch == 0:
            log.error("webhooks: another program follows as %s of %s; nothing is posted until a reload", NAME, USER)
            self.is_taken = True
            self._forget_link()
            link.leave()
            return
        self._backlog.append(message)
        if message.id == FOLLOW_ID:
            self.is_following, self._failures = True, 0
        self.advance()

    def advance(self) -> None:
        """Hand to the lanes what they want, and have the server go on or wait accordingly. O(what is handed over)."""
        lanes, backlog = self._lanes, self._backlog
        while backlog and lanes.wants_more:
            self._take(backlog.popleft())
        link = self._link
        if link is None:
            return
        if self._is_held:
            if not backlog and lanes.wants_more and lanes.held <= HELD_MAX // 2:
                self._is_held = False
                link.take_on()
        elif not lanes.wants_more:
            self._is_held = True
            link.hold()
        self._read()
        if lanes.position != self._acknowledged and "acknowledge" not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers["acknowledge"] = loop.call_later(ACKNOWLEDGE_S, self.acknowledge)

    def _take(self, message: Event | Following) -> None:
        if isinstance(message, Following):
            cursor = Cursor(message.epoch, message.seq)
            self._epoch = message.epoch
            if message.reset:
                self.gaps += 1
                log.warning("webhooks: events were lost that are not kept any longer; the receiver is told")
                self._lanes.add(lost_delivery(cursor, self._clocks.wall_ms()), cursor)
            else:
                self._lanes.pass_over(cursor)
            return
        cursor = Cursor(self._epoch, message.seq)
        kinds = self.plan.kinds
        # An event without a user was of somebody who is erased, and only keeps the count.
        if message.user and (not kinds or message.kind in kinds) and self.plan.users.match(message.user):
            self._lanes.add(delivery_of(message, self._epoch), cursor)
        else:
            self._lanes.pass_over(cursor)

    def acknowledge(self) -> None:
        """Tell the server how far everything is accepted, if that is news."""
        self._stop_timer("acknowledge")
        position, link = self._lanes.position, self._link
        if link is not None and link.is_held:
            # With a very low listen.rate. One of them says all that the others would.
            self._timers["acknowledge"] = asyncio.get_running_loop().call_later(ACKNOWLEDGE_S, self.acknowledge)
            return
        if link is not None and position != self._acknowledged and position.epoch == self._epoch:
            self._acknowledged = position
            link.ask(Acknowledge(position.seq))
