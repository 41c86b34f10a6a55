"""A life that others are not to notice: what a secret user does, and everything that the others are sent meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from presenced.core.policy import Policy
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Approve,
    Await,
    Block,
    Cancel,
    Check,
    ClientMessage,
    Command,
    Compare,
    EndClaim,
    Follow,
    Get,
    GetContacts,
    GetDevices,
    GetMembers,
    HideFrom,
    Join,
    Leave,
    RemoveContact,
    ServerMessage,
    SetAudience,
    SetContact,
    SetSchedule,
    SetStatus,
    ShowTo,
    Subscribe,
    Sync,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Welcome,
    Who,
    Window,
)
from tests.core.world import World
from tests.support.requests import REQUESTS
from tests.visibility.pairs import STRANGER, VERA, WALT
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink

SECRET: Final = "secret@six.example"
FRIEND: Final = "friend@six.example"
"""Of the secret user's. Nobody watches them, and they do nothing themselves."""

OBSERVERS: Final = (
    Viewer(VERA),
    Viewer(WALT, see=("s0*",)),
    Viewer("narrow", "service", ("vera*", "*@one.example")),
    Viewer("keeper", "admin", (WALT,)),
)
CONTACTS: Final = 1
"""Which of the links watches its user's contacts."""
ROOMS: Final = ("general", "side")


class Ear(ViewLink):
    """Keeps each write with its moment, and what each question costs."""

    def __init__(self, world: World, viewer: Viewer, device: str, *, before: Ear | None = None, **said: Any) -> None:
        """`before`: this one goes on where that one's link was lost."""
        self.heard: list[tuple[int, bytes]] = before.heard if before is not None else []
        self.token = ""
        """With which what its link had is taken back."""
        self.make = partial(Ear, world, viewer, device, **said)
        resume = before.token if before is not None else ""
        super().__init__(world, viewer, device, resume=resume, instance=1, **said)

    def _learn(self, message: ServerMessage) -> None:
        super()._learn(message)
        if isinstance(message, Welcome):
            self.token = message.resume

    def say(self, message: ClientMessage) -> None:
        cost = REQUESTS.cost(self.world.engine, self.session, message)
        self.heard.append((self.world.now_ms, f"{type(message).__name__} costs {cost}".encode()))
        super().say(message)

    def send(self, data: bytes) -> None:
        self.heard.append((self.world.now_ms, data))
        super().send(data)


class Life:
    """The observers, whose acts are the same in each life, and the secret user, who may do anything or nothing."""

    def __init__(self, policy: Policy) -> None:
        self.world = World(policy)
        self.world.checks = False
        self.ears: list[Ear] = []
        self.secret: dict[str, ViewLink] = {}
        for viewer in OBSERVERS:
            self._listen(viewer)
        self.vera, _, self.walt = self.ears[:3]
        for ear in (self.vera, self.walt):
            ear.join(f"{ear.viewer.name}/desk", "general")
        self.world.turn()

    def _listen(self, viewer: Viewer) -> None:
        is_user = viewer.role == "user"
        ear = Ear(self.world, viewer, "desk" if is_user else "")
        self.ears.append(ear)
        if viewer.name == VERA:
            self.ears.append(Ear(self.world, viewer, "phone", contacts=True))
        ear.say(Watch(ear.next_id(), [SECRET, VERA, WALT, STRANGER]))
        for room in ROOMS:
            ear.say(WatchChannel(ear.next_id(), room))
        if not is_user:
            ear.say(WatchAll(ear.next_id()))
            ear.say(Follow(ear.next_id()))
        self.world.turn()

    def advance(self, ms: int) -> None:
        """Time passes, and nobody who is there falls silent for too long."""
        self.world.advance(ms)
        for link in [*self.ears, *self.secret.values()]:
            if link.open:
                link.beat()

    def heard(self) -> dict[str, list[tuple[int, bytes]]]:
        return {f"{number} {ear.viewer.name}": ear.heard for number, ear in enumerate(self.ears)}

    # --- one of the observers comes and goes ------------------------------------------------------------------

    def leave(self) -> None:
        """The link is lost that watches contacts."""
        if self.ears[CONTACTS].open:
            self.ears[CONTACTS].lose()

    def come_back(self) -> None:
        """It is there again, with what it had, and compares what it has."""
        before = self.ears[CONTACTS]
        if before.open:
            return
        ear = self.ears[CONTACTS] = before.make(before=before, quiet=True)
        ear.say(Compare(ear.next_id(), [SECRET, STRANGER, WALT], [7, 7, 7]))
        ear.say(Check(ear.next_id()))
        self.world.turn()

    # --- the secret user --------------------------------------------------------------------------------------

    def come(self, device: str) -> None:
        """The secret user's device says hello, again if it is there."""
        self.secret[device] = ViewLink(self.world, Viewer(SECRET), device)
        self.world.turn()

    def go(self, device: str, *, lost: bool) -> None:
        link = self.secret.pop(device, None)
        if link is not None and link.open:
            (link.lose if lost else link.bye)()

    def says(self, message: type, *fields: Any) -> None:
        """The secret user sends a request, if a device is there to send it."""
        for link in self.secret.values():
            if link.open:
                link.say(message(link.next_id(), *fields))
                self.world.turn()
                return


Act = Callable[[Life], object]


def _says(message: type, *fields: Any) -> Act:
    return lambda life: life.says(message, *fields)


SECRET_ACTS: Final[dict[str, Act]] = {
    "come": lambda life: life.come("desk"),
    "come with another": lambda life: life.come("phone"),
    "go": lambda life: life.go("desk", lost=False),
    "be lost": lambda life: life.go("desk", lost=True),
    "go with another": lambda life: life.go("phone", lost=False),
    "dnd": _says(SetStatus, "dnd"),
    "auto": _says(SetStatus, "auto"),
    "appear offline": _says(SetStatus, "offline"),
    "text": _says(SetStatus, None, "a secret", "*"),
    "text that ends": _says(SetStatus, None, "a secret", "*", 3_000),
    "claim": _says(AddClaim, "call", "call", "dnd", 5_000),
    "end of a claim": _says(EndClaim, "call"),
    "schedule": _says(SetSchedule, "Europe/Berlin", [Window(127, 0, 720)]),
    "activity": _says(AddActivity, "message", "general"),
    "touch": _says(Touch),
    "sync": _says(Sync),
    "join": _says(Join, "general"),
    "join another": _says(Join, "side"),
    "leave": _says(Leave, "general"),
    "watch": _says(Watch, [VERA, WALT, STRANGER]),
    "watch a room": _says(WatchChannel, "general"),
    "ask": _says(Get, [VERA]),
    "ask who": _says(Who),
    "ask for members": _says(GetMembers, "general"),
    "command": _says(Command, "/presence dnd for 5m"),
    "contact": _says(SetContact, VERA, "Vera", ["work"]),
    "ask a friend": _says(Subscribe, FRIEND, "it is me"),
    "approve a friend": _says(Approve, FRIEND),
    "cancel a friend": _says(Cancel, FRIEND),
    "stop a friend": _says(Unsubscribe, FRIEND),
    "remove a friend": _says(RemoveContact, FRIEND),
    "block a friend": _says(Block, FRIEND),
    "unblock a friend": _says(Unblock, FRIEND),
    "hide from a friend": _says(HideFrom, FRIEND),
    "hide from vera": _says(HideFrom, VERA),
    "show to a friend": _says(ShowTo, FRIEND),
    "audience": _says(SetAudience, "contacts", "nobody", "contacts", [FRIEND], [VERA]),
    "audience for everybody": _says(SetAudience),
}

TO_THE_BLOCKER: Final[dict[str, Act]] = {
    "block vera": _says(Block, VERA),
    "ask to see vera": _says(Subscribe, VERA, "please"),
    "ask again": _says(Subscribe, VERA, "pretty please"),
    "stop asking vera": _says(Unsubscribe, VERA),
    "show to vera": _says(ShowTo, VERA),
}
"""What may be said to somebody who has blocked the one who says it, and is not heard."""

PRIVATE_ACTS: Final = (
    "come",
    "come with another",
    "go with another",
    "text",
    "text that ends",
    "touch",
    "sync",
    "activity",
    "ask",
    "ask who",
    "watch",
    "watch a room",
    "contact",
    "ask a friend",
    "approve a friend",
    "block a friend",
    "hide from a friend",
    "show to a friend",
)
"""What an audience that keeps text, times and device from everybody keeps wholly."""


def _each(question: Callable[[Ear], object]) -> Act:
    def ask(life: Life) -> None:
        for ear in life.ears:
            if ear.open:
                ear.say(question(ear))  # type: ignore[arg-type]
        life.world.turn()

    return ask


OBSERVER_ACTS: Final[dict[str, Act]] = {
    "get": _each(lambda ear: Get(ear.next_id(), [SECRET, STRANGER, VERA, WALT])),
    "who": _each(lambda ear: Who(ear.next_id())),
    "short who": _each(lambda ear: Who(ear.next_id(), "r", 1)),
    "watch": _each(lambda ear: Watch(ear.next_id(), [SECRET])),
    "unwatch": _each(lambda ear: Unwatch(ear.next_id(), [SECRET])),
    "watch again": _each(lambda ear: Watch(ear.next_id(), [SECRET, STRANGER, VERA], [7, 7, 0])),
    "compare": _each(lambda ear: Compare(ear.next_id(), [SECRET, STRANGER, VERA, WALT], [0, 0, 7, 7])),
    "compare what was had": _each(lambda ear: Compare(ear.next_id(), [SECRET, STRANGER, VERA], [7, 7, 7])),
    "compare in pages": _each(lambda ear: Compare(ear.next_id(), [SECRET, STRANGER], [0, 7], more=True)),
    "compare nobody": _each(lambda ear: Compare(ear.next_id(), [], [])),
    "check": _each(lambda ear: Check(ear.next_id())),
    "leave": lambda life: life.leave(),
    "come back": lambda life: life.come_back(),
    "come back at once": lambda life: (life.leave(), life.come_back()),
    "await": _each(lambda ear: Await(ear.next_id(), SECRET, 3_000)),
    "await what is": _each(lambda ear: Await(ear.next_id(), SECRET, 2_000, ["offline", "xa"], [], 700)),
    "await who is seen": _each(lambda ear: Await(ear.next_id(), WALT, 2_000, ["dnd", "away"], [], 300)),
    "members": _each(lambda ear: GetMembers(ear.next_id(), "general")),
    "count": _each(lambda ear: GetMembers(ear.next_id(), "side", "", 0)),
    "watch a room": _each(lambda ear: WatchChannel(ear.next_id(), "side")),
    "watch a room again": _each(
        lambda ear: WatchChannel(ear.next_id(), "general", 100, [SECRET, STRANGER, VERA], [7, 7, 7])
    ),
    "leave a room": _each(lambda ear: UnwatchChannel(ear.next_id(), "side")),
    "devices": _each(lambda ear: GetDevices(ear.next_id(), SECRET)),
    "say a status for": _each(lambda ear: GetContacts(ear.next_id(), 0, "", SECRET)),
    "command": _each(lambda ear: Command(ear.next_id(), "/presence who", "" if ear.session.device else VERA)),
    "follow": lambda life: _follow(life),
    "text": lambda life: _say(life, SetStatus, "dnd", "busy"),
    "no text": lambda life: _say(life, SetStatus, "auto", ""),
    "join": lambda life: _say(life, Join, "side"),
    "part": lambda life: _say(life, Leave, "side"),
    "contacts": lambda life: _say(life, GetContacts),
    "friends": lambda life: (_say(life, Subscribe, WALT), _tell(life.walt, Approve, VERA)),
    "no friends": lambda life: _say(life, Unsubscribe, WALT),
    "ask to see": lambda life: _say(life, Subscribe, SECRET, "hello"),
    "stop asking": lambda life: _say(life, Unsubscribe, SECRET),
    "name": lambda life: _say(life, SetContact, SECRET, "Sec", ["odd"]),
    "remove": lambda life: _say(life, RemoveContact, SECRET),
    "block": lambda life: _say(life, Block, SECRET),
    "hide": lambda life: _say(life, HideFrom, SECRET),
    # In each life in which the secret user is there.
    "be busy": lambda life: life.says(SetStatus, "dnd"),
    "be there": lambda life: life.says(SetStatus, "auto"),
    "stall": lambda life: (life.vera.stall(), life.walt.stall()),
    "drain": lambda life: (life.vera.drain(), life.walt.drain()),
}


def _say(life: Life, message: type, *fields: Any) -> None:
    _tell(life.vera, message, *fields)


def _tell(ear: Ear, message: type, *fields: Any) -> None:
    ear.say(message(ear.next_id(), *fields))
    ear.world.turn()


def _follow(life: Life) -> None:
    for ear in life.ears:
        if ear.session.role != "user":
            ear.say(Follow(ear.next_id(), life.world.engine.ledger.epoch, 0))
    life.world.turn()
