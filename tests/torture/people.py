"""People on the nodes of a cluster, and what they were promised: each speaks for one user wherever a node serves, and
watchers hold every record that they are told against all others."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from presenced.wire.messages import Heartbeat, Ping, SetStatus, Watch
from tests.support.until import until
from tests.support.wire import DONE, ERROR, GOODBYE, PRESENCE, RECORDS, WELCOME, Wire, hello

ANSWER_S = 12.0
"""After so long without an answer a person goes elsewhere."""
PAUSE_S = 0.02
"""Between two things that one person says."""
BEAT_S = 2.0

Place = Callable[[], int]
"""The port of a node that should serve."""


class History:
    """What was said, what was acknowledged, and what was told; every method from any thread."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        """Promises that were broken."""
        self.tally: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._records: dict[tuple[str, int], list[Any]] = {}
        self._acknowledged: dict[str, int] = {}
        self._unknown: dict[str, set[int]] = {}

    def said(self, user: str, number: int) -> None:
        """The user has begun to say this; what comes of it is not known."""
        with self._lock:
            self._unknown.setdefault(user, set()).add(number)

    def acknowledged(self, user: str, number: int) -> None:
        """The user was told that this is kept."""
        with self._lock:
            self._unknown[user].discard(number)
            self._acknowledged[user] = number
            self.tally["acknowledged"] += 1

    def number_of(self, user: str) -> int:
        """The newest that was acknowledged."""
        with self._lock:
            return self._acknowledged.get(user, 0)

    def told(self, record: list[Any], seen: dict[str, list[Any]]) -> None:
        """A link was told this record; `seen` has the newest of each user on the link."""
        user, version = record[0], record[7]
        with self._lock:
            self.tally["told"] += 1
            before = seen.get(user)
            if before is not None and version < before[7]:
                self.faults.append(f"{record} was told behind {before}")
            other = self._records.setdefault((user, version), record)
            if version and other != record:
                self.faults.append(f"{record} and {other} have one version")
            if record[1] == "offline" and before is not None:
                self.faults.append(f"{record} was told of somebody who was there")
            seen[user] = record

    def forget_records(self) -> None:
        """Two sides of a split engine count on from the same version: what they told is not compared."""
        with self._lock:
            self._records.clear()

    def judge(self, user: str, text: str, *, may_lose: bool) -> None:
        """This is what all nodes tell of the user in the end."""
        with self._lock:
            number, newest = int(text.rpartition(" ")[2] or 0), self._acknowledged.get(user, 0)
            if number < newest and number not in self._unknown.get(user, set()):
                self.tally["lost as documented" if may_lose else "lost"] += newest - number
                if not may_lose:
                    self.faults.append(f"{user} was acknowledged {newest}, and all nodes tell {number}")
            elif number < newest:
                self.tally["late"] += 1
            self._acknowledged[user] = number
            self._unknown[user] = set()


class Person(threading.Thread):
    """Has one link at a time, and a new one at another place when it ends or does not answer."""

    def __init__(self, name: str, place: Place, history: History) -> None:
        super().__init__(name=name, daemon=True)
        self.failure: Exception | None = None
        self._place = place
        self._history = history
        self._is_over = threading.Event()

    def run(self) -> None:
        """The thread."""
        try:
            while not self._is_over.is_set():
                try:
                    link = Wire(self._place())
                except OSError:
                    self._is_over.wait(0.05)
                    continue
                with link:
                    try:
                        link.send(hello(self.name))
                        if link.next(ANSWER_S)[0] == WELCOME:
                            self.live(link)
                    except (AssertionError, OSError):
                        self._history.tally["links lost"] += 1
                        self._is_over.wait(0.05)
        except Exception as failure:
            self.failure = failure
            self._history.faults.append(f"{self.name} failed: {failure!r}")

    def live(self, link: Wire) -> None:
        """What it does on a link, until that ends. Raises `AssertionError`, `OSError`."""

    def end(self) -> None:
        """End the thread."""
        self._is_over.set()
        self.join()


class Speaker(Person):
    """Says one thing after the other, and waits for each to be answered."""

    def __init__(self, name: str, place: Place, history: History, pause_s: float = PAUSE_S) -> None:
        super().__init__(name, place, history)
        self.numbers = 0
        self._pause_s = pause_s
        self._may_speak = threading.Event()
        self._may_speak.set()
        self._is_quiet = threading.Event()

    def live(self, link: Wire) -> None:
        """See `Person`."""
        while not self._is_over.is_set():
            if not self._may_speak.is_set():
                self._is_quiet.set()
                self._may_speak.wait(BEAT_S)
                link.send(Heartbeat())
                continue
            self._is_quiet.clear()
            self.numbers += 1
            number = self.numbers
            self._history.said(self.name, number)
            link.send(SetStatus(number, random.choice(("online", "away", "dnd")), f"{self.name} {number}"))
            limit_s = time.monotonic() + ANSWER_S
            while (answer := link.next(max(0.01, limit_s - time.monotonic())))[0] not in (DONE, ERROR, GOODBYE):
                pass
            if answer[0] == GOODBYE:
                self._history.tally[f"goodbye {answer[1]}"] += 1
                return
            assert answer[1] == number, f"{answer} is no answer to {number}"
            if answer[0] == DONE:
                self._history.acknowledged(self.name, number)
            else:
                self._history.tally[answer[2]] += 1
            self._is_over.wait(self._pause_s)

    def hush(self) -> None:
        """Say nothing more from now on."""
        self._may_speak.clear()
        self._is_quiet.clear()

    @property
    def is_quiet(self) -> bool:
        """Whether everything said is answered or given up, on a link that lives."""
        return self._is_quiet.is_set()

    def speak(self) -> None:
        """Go on."""
        self._may_speak.set()

    def wait_heard(self, since: int) -> None:
        """Return once something behind this number was acknowledged."""
        until(lambda: self._history.number_of(self.name) > since, f"{self.name} is acknowledged something")


class Watcher(Person):
    """Watches these users, on one link after the other."""

    def __init__(self, name: str, place: Place, history: History, users: list[str]) -> None:
        super().__init__(name, place, history)
        self._users = users

    def live(self, link: Wire) -> None:
        """See `Person`."""
        seen: dict[str, list[Any]] = {}
        link.send(Watch(1, self._users))
        beat_s, limit_s = time.monotonic(), time.monotonic() + ANSWER_S
        while not self._is_over.is_set():
            if time.monotonic() - beat_s > BEAT_S:
                link.send(Ping(2))
                beat_s = time.monotonic()
            try:
                frame = link.next(BEAT_S)
            except AssertionError:
                if link.is_over or time.monotonic() > limit_s:
                    raise
                continue
            limit_s = time.monotonic() + ANSWER_S
            if frame[0] == PRESENCE:
                self._history.told(frame[1], seen)
            elif frame[0] == RECORDS:
                for record in next(part for part in frame if isinstance(part, list)):
                    self._history.told(record, seen)
            elif frame[0] == GOODBYE:
                return
