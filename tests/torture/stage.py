"""A cluster for torture: three daemons behind an engine with replicas and Sentinels, each with a way of its own to it,
and people who speak and watch all the time."""

from __future__ import annotations

import contextlib
import random
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from presenced.cli.admin_link import AdminLink
from presenced.errors import PresenceError
from presenced.wire.messages import Get
from tests.support.daemon import Daemon, StartFailed
from tests.support.sentinels import EngineGroup, NodeWay
from tests.support.until import until
from tests.support.wire import RECORDS, WELCOME, Wire, hello, opened
from tests.torture.people import ANSWER_S, PAUSE_S, History, Speaker, Watcher

NAMES = ("one", "two", "three")
LEASE_S = 7
"""The shortest that there is."""
GHOST_S = 120.0
"""Longer than a lease, a grace behind a death, its spread, and what is put off after an outage."""
AGAIN = 75
"""The exit code of a node that is to be started again."""
ANEW = "it joins anew"
"""The last that such a node says."""


class Stage:
    """All of it. Used by `with`."""

    def __init__(
        self,
        folder: Path,
        chance: random.Random,
        *,
        ack: str = "engine",
        speakers: int = 4,
        pause_s: float = PAUSE_S,
    ) -> None:
        """`pause_s`: between two things that one person says; the less, the more the town costs."""
        self.chance = chance
        self.tally: Counter[str] = Counter()
        self.history = History()
        self.ack = ack
        self._folder = folder
        self._stack = ExitStack()
        # Several replicas may each have another end of the log, and "replica" waits for any one.
        self.engines = self._stack.enter_context(EngineGroup(folder, replicas=1 if ack == "replica" else 2))
        self.ways = {name: NodeWay(self.engines) for name in NAMES}
        self._nodes: dict[str, Daemon] = {}
        self._absent: set[str] = set()
        """Nodes that no client should be sent to."""
        self.ghosts: list[str] = []
        self.ends: Counter[int] = Counter()
        """Exit codes of nodes that ended by themselves."""
        for name in NAMES:
            self.start(name)
        users = [f"user-{number}" for number in range(speakers)]
        self.speakers = [Speaker(user, self.place, self.history, pause_s) for user in users]
        self._people = [
            *self.speakers,
            *(Watcher(f"watcher-{number}", self.place, self.history, users) for number in range(len(NAMES))),
        ]
        for person in self._people:
            person.start()
        for speaker in self.speakers:
            speaker.wait_heard(0)

    def place(self) -> int:
        """The port of a node that a balancer would name. From any thread."""
        ports = [node.port for name, node in list(self._nodes.items()) if name not in self._absent]
        return random.choice(ports) if ports else 1

    # --- nodes ------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start a node, as often as its service manager would, and return once it serves."""
        folder = self._folder / name
        options = ("--cluster", self.ways[name].url, "--node", name, "--rate", "0", "--change-spacing", "0")
        options += ("--data-dir", str(folder), "--admin-socket", str(self._folder / f"{name}.sock"))
        environ = {"PRESENCED_CLUSTER__LEASE": f"{LEASE_S}s", "PRESENCED_CLUSTER__ACK": self.ack}

        def is_started() -> bool:
            try:
                self._nodes[name] = Daemon(self._folder / f"{name}.log", *options, environ=environ)
            except StartFailed as failure:
                self._judge_status(name, failure.status)
                return False
            return True

        until(is_started, f"{name} starts")
        self._absent.discard(name)

    def hide(self, name: str) -> None:
        """Send no client there from now on."""
        self._absent.add(name)

    def show(self, name: str) -> None:
        """Send clients there again."""
        self._absent.discard(name)

    def kill(self, name: str) -> None:
        """A node is gone (SIGKILL)."""
        self.hide(name)
        self._nodes[name].kill()

    def stop(self, name: str) -> None:
        """A node ends in order."""
        self.hide(name)
        node = self._nodes[name]
        node.signal(signal.SIGTERM)
        if node.wait() == 0:
            node.stop()
        elif node.wait() == -signal.SIGTERM and node.log().splitlines()[-1].endswith(ANEW):
            # It had ended by itself, and the signal came behind that, before the process was gone.
            node.kill()
            self.ends[AGAIN] += 1
        else:
            self._judge_end(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """A node gets this signal."""
        self._nodes[name].signal(number)

    def start_ended(self) -> None:
        """Start those again that have ended by themselves, as a service manager does."""
        for name in NAMES:
            self.revive(name)

    def revive(self, name: str) -> None:
        """Start this node again if it has ended by itself."""
        if not self._nodes[name].is_running:
            self._judge_end(name)
            self.start(name)

    def _judge_end(self, name: str) -> None:
        """The node has ended by itself: as one that may be started again."""
        node = self._nodes[name]
        status = node.wait()
        node.kill()
        self._judge_status(name, status)

    def _judge_status(self, name: str, status: int) -> None:
        self.ends[status] += 1
        tail = "\n".join(self._nodes[name].log().splitlines()[-12:]) if name in self._nodes else ""
        assert status == AGAIN, f"{name} ended with status {status}\n{tail}"

    # --- what must hold ---------------------------------------------------------------------------------------

    def wait_heard(self) -> None:
        """Return once everybody was acknowledged something that was said from now on."""
        before = {speaker.name: speaker.numbers for speaker in self.speakers}

        def waiting() -> list[str]:
            self.start_ended()
            return [name for name, number in before.items() if self.history.number_of(name) <= number]

        until(lambda: not waiting(), lambda: f"{waiting()} are acknowledged nothing")

    def leave_ghost(self) -> None:
        """Somebody comes, is not heard of any more, and never comes back."""
        name = f"ghost-{len(self.ghosts)}"
        with contextlib.suppress(AssertionError, OSError), Wire(self.place()) as link:
            link.send(hello(name))
            if link.next(ANSWER_S)[0] == WELCOME:
                self.ghosts.append(name)

    def check_ghosts(self) -> None:
        """Those who never came back are offline on all nodes in the end."""

        def left() -> list[Any]:
            told = self._told_by_all(self.ghosts)
            if told is None:
                return ["nothing, since one of them is ending"]
            return [record for records in told.values() for record in records if record[1] != "offline"]

        until(lambda: not left(), lambda: f"of those who are gone the nodes tell {left()}", GHOST_S)

    def check(self, *, may_lose: bool = False) -> None:
        """Nobody speaks, all nodes come to one answer, and it has what was acknowledged."""
        for speaker in self.speakers:
            speaker.hush()

        def loud() -> list[str]:
            self.start_ended()
            return [speaker.name for speaker in self.speakers if not speaker.is_quiet]

        until(lambda: not loud(), lambda: f"{loud()} have no link, or are not quiet")
        users = [speaker.name for speaker in self.speakers]
        told: dict[str, Any] = {}

        def is_agreed() -> bool:
            told.clear()
            told.update(self._told_by_all(users) or {})
            one, *others = told.values() or [None]
            return bool(one) and all(other == one for other in others)

        until(is_agreed, lambda: f"the nodes tell {told}")
        for record in told[NAMES[0]]:
            self.history.judge(record[0], record[2], may_lose=may_lose)
            assert record[1] != "offline", f"{record} is told of somebody who is there"
        until(self._homes_agree, lambda: f"of homes the nodes tell {self._homes()}")
        for speaker in self.speakers:
            speaker.speak()
        assert not self.history.faults, "\n".join(self.history.faults)

    def _told_by_all(self, users: list[str]) -> dict[str, list[Any]] | None:
        """What each node answers of these users; None if one does not, since it ends by itself at this moment."""
        self.start_ended()
        try:
            return {name: _told(node, users) for name, node in self._nodes.items()}
        except (AssertionError, OSError):
            return None

    def _homes_agree(self) -> bool:
        one, *others = self._homes().values()
        return bool(one) and all(other == one for other in others)

    def _homes(self) -> dict[str, dict[str, int]]:
        """What each node says, of how many users each node is the home."""
        said = {}
        for name in NAMES:
            try:
                with AdminLink(str(self._folder / f"{name}.sock"), 20) as link:
                    said[name] = {one["name"]: one["homes"] for one in link.ask("cluster")["nodes"]}
            except PresenceError:
                said[name] = {}
        return said

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        for person in self._people:
            person.end()
        for node in self._nodes.values():
            node.kill()
        self._stack.close()


def _told(node: Daemon, users: list[str]) -> list[Any]:
    """What this node answers of these users."""
    told: list[Any] = []
    with opened(node.port, "reader", f"at-{node.log_path.stem}") as reader:
        for first in range(0, len(users), 100):
            reader.send(Get(9, users[first : first + 100]))
            told += next(part for part in reader.until(RECORDS) if isinstance(part, list))
    return sorted(told)
