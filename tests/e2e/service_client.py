"""A service's link for tests: raw arrays as protocol.md writes them, and a reply to wait for by its id.

Frames are lists with the type number first. Pushes that come before a reply are kept, in order, and never thrown away.
"""

from __future__ import annotations

import itertools
from collections import deque
from typing import Any

from tests.support.readiness import readable
from tests.support.wire import DONE, ERROR, PRESENCE, WELCOME, Frame, Wire

HELLO, HEARTBEAT, BYE, PING, SET_STATUS, SET_DEVICE, GET, WHO, WATCH, UNWATCH = range(1, 11)
ATTACH, DETACH, BEATS, FORGET, GET_DEVICES, TOUCH, ADD_CLAIM, END_CLAIM, GET_CLAIMS, SET_SCHEDULE = range(11, 21)
ADD_ACTIVITY, GET_ACTIVITY, JOIN, LEAVE, GET_MEMBERS, WATCH_CHANNEL, UNWATCH_CHANNEL = range(21, 28)
APPLIED, SYNC, GET_SYNC, FOLLOW, COMMAND, WATCH_ALL = range(28, 34)
DEVICE_LIST, CLAIM_LIST, ACTIVITY_LIST, MEMBERS_PAGE, CHANNEL_EVENT, CHANNEL_COUNTS = range(72, 78)
OWN_STATE, SYNC_STATE, EVENT, FOLLOWING, COMMAND_REPLY, TAKEN = range(78, 84)

PUSHES = {PRESENCE, CHANNEL_EVENT, CHANNEL_COUNTS, OWN_STATE, EVENT, TAKEN}
EVERY_HOUR = [[127, 0, 720], [127, 720, 0]]
"""Windows of a schedule that is always open."""


class Service:
    """One link of role `service` (or, for comparison, of a user), welcomed."""

    def __init__(self, port: int, name: str = "backend", device: str = "", role: str = "service", **hello: Any) -> None:
        self.wire = Wire(port)
        self.pushed: deque[Frame] = deque()
        """Pushes that were read while waiting for something else."""
        self._ids = itertools.count(1)
        self._answers: dict[int, Frame] = {}
        idle_ms, sync = hello.get("idle_ms"), hello.get("sync", False)
        self.wire.send([HELLO, [1], "", name, device, "", "", 0, "online", idle_ms, role, "test", sync])
        self.welcome = self.wire.next()
        assert self.welcome[0] == WELCOME, self.welcome

    def post(self, kind: int, *fields: Any) -> int:
        """Send a request and do not wait; gives its id."""
        request_id = next(self._ids)
        self.wire.send([kind, request_id, *fields])
        return request_id

    def reply(self, request_id: int) -> Frame:
        """The answer to it, whatever it is. Answers may come in any order."""
        while request_id not in self._answers:
            got = self.wire.next()
            if got[0] in PUSHES:
                self.pushed.append(got)
            else:
                assert got[1] not in self._answers, f"answered twice: {got}"
                self._answers[got[1]] = got
        return self._answers.pop(request_id)

    def ask(self, kind: int, *fields: Any) -> Frame:
        return self.reply(self.post(kind, *fields))

    def do(self, kind: int, *fields: Any) -> int:
        """A request that must be done; gives the version counter after it."""
        got = self.ask(kind, *fields)
        assert got[0] == DONE, got
        version: int = got[2]
        return version

    def refused(self, kind: int, *fields: Any) -> str:
        """A request that must be refused with a sentence; gives the code."""
        got = self.ask(kind, *fields)
        assert got[0] == ERROR, f"not refused: {got}"
        assert len(got[3]) > 10, got
        return str(got[2])

    def push(self) -> Frame:
        """The next push."""
        return self.pushed.popleft() if self.pushed else self.wire.next()

    def arrives(self, wait_s: float) -> bool:
        """Whether something has come to be read, or comes within this time."""
        return bool(self.pushed) or not self.wire.quiet() or bool(readable(self.wire.socket, wait_s))

    def pushes_until(self, text: str, user: str = "marker") -> list[Frame]:
        """All pushes up to the Presence in which `user` has this text."""
        found = []
        while True:
            got = self.push()
            if got[0] == PRESENCE and got[1][0] == user and got[1][2] == text:
                return found
            found.append(got)

    # --- questions --------------------------------------------------------------------------------------------

    def record(self, user: str) -> Frame:
        return list(self.ask(GET, [user])[4][0])

    def status(self, user: str) -> str:
        return str(self.record(user)[1])

    def devices(self, user: str) -> dict[str, Frame]:
        return {device[0]: device for device in self.ask(GET_DEVICES, user)[3]}

    def wait_for_state(self, user: str, device: str, state: str) -> None:
        """Until the device is connected, in grace or gone, as the server itself says."""
        for _ in range(100_000):
            if self.devices(user)[device][4] == state:
                return
        raise AssertionError(f"{user}/{device} did not become {state}")

    def close(self) -> None:
        self.wire.close()


class Watcher:
    """A link that watches users, and says what it was told since it was asked last."""

    def __init__(self, link: Service, service: Service, *users: str) -> None:
        self.link, self.service = link, service
        self.numbers = itertools.count(1)
        service.do(SET_STATUS, None, "", None, 0, "marker")
        assert link.ask(WATCH, [*users, "marker"])[0] == 69

    def told(self) -> list[list[Any]]:
        """Everything pushed since: a change made now by the service comes after it."""
        text = f"mark {next(self.numbers)}"
        self.service.do(SET_STATUS, None, text, None, 0, "marker")
        return self.link.pushes_until(text)

    def statuses(self) -> list[tuple[str, str]]:
        return [(frame[1][0], frame[1][1]) for frame in self.told() if frame[0] == PRESENCE]
