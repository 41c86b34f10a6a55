"""A service that comes back with its token to any node of a town, also to two at once (protocol.md, 22.3)."""

from __future__ import annotations

from presenced.core.model import CONNECTED
from presenced.wire.messages import Attach, Beats, Done, Taken, Watch
from tests.cluster.client import Client
from tests.cluster.town import TownNode

WATCHED = frozenset({"ann", "bob", "cat"})
HELD = {1: "pal/tab", 2: "pen/tab", 3: "pig/tab"}


class Servant:
    """It believes to hold what it was granted and was not told to hold no longer, over all its links. A connection may
    break with a Taken under way, which no node says again by itself: a service that has its link back says beats for
    all that it believes to hold, and is told of each ref that it does not."""

    def __init__(self) -> None:
        self.link: Client | None = None
        self.held: set[int] = set()
        self.returns = self.far_returns = 0
        """Links that were taken back, and of these the ones on another node."""
        self._token = ""
        self._node: TownNode | None = None
        """The node that has given the token."""
        self._shown: set[str] = set()
        """Tokens by which something was taken back."""
        self._read = 0
        self._asked: dict[int, int] = {}
        """Refs of the requests to attach them that are not answered."""
        self._missed: set[int] = set()
        """Refs that it was told to hold no longer, by what broke off with the connection."""
        self._is_new = True

    @property
    def is_there(self) -> bool:
        """Whether it has a link that was welcome."""
        return self.link is not None and self.link.is_open and self.link.session is not None

    @property
    def waits(self) -> bool:
        """Whether its hello is not answered yet, and may be."""
        link = self.link
        return link is not None and link.is_open and link.session is None and link.world in link.world.town.nodes

    def come(self, node: TownNode, other: TownNode | None = None) -> None:
        """Say hello to this node with the token; and at once to another one, as whoever got no answer does."""
        self._note_missed()
        town = node.town
        was_prompt, town.is_prompt = town.is_prompt, False
        links = [one.dial("app", role="service", instance=6, resume=self._token) for one in (node, other) if one]
        town.is_prompt = was_prompt
        town.consider_settling()
        for one in links:
            one.world.turn()
        assert sum(link.resumed for link in links) <= 1, "a token was taken twice"
        links.sort(key=lambda link: not link.resumed)
        for link in links[1:]:
            if link.session is not None:
                link.lose()
            else:
                link.cut()
        self.link, self._is_new, self._read, self._asked = links[0], True, 0, {}
        self.go_on()

    def go_on(self) -> None:
        """Take what has come; say again what is missing."""
        if not self.is_there:
            return
        assert self.link is not None
        if self._is_new:
            self._begin(self.link)
        self._take(self.link)
        for ref in HELD.keys() - self.held - set(self._asked.values()):
            user, _, device = HELD[ref].partition("/")
            number = self.link.next_id()
            self._asked[number] = ref
            self.link.say(Attach(number, ref, user, device))
        self._take(self.link)

    def lose(self) -> None:
        """The connection breaks."""
        if self.is_there:
            assert self.link is not None
            self._take(self.link)
            self.link.lose()

    def hold_all(self) -> None:
        """What it believes is so: for when nothing is under way."""
        assert self.is_there and self.link is not None
        assert self.link.watching == WATCHED
        assert self.held == HELD.keys(), f"it holds {self.held}, and {self._asked} is not answered"
        assert self.link.refs == HELD, f"its node believes that it holds {self.link.refs}"
        for address in HELD.values():
            user, _, device = address.partition("/")
            [home] = [node for node in self.link.world.town.nodes if node.node.own(user)]
            known = home.engine.users.get(user)
            assert known is not None and known.devices[device].state == CONNECTED, f"{address} has no link"
            holder = known.devices[device].session
            assert holder is not None and holder.user_name == "app" and not holder.ended

    def _begin(self, link: Client) -> None:
        """Its hello was answered."""
        self._is_new = False
        assert link.session is not None
        if link.resumed:
            assert self._token not in self._shown, "a token was taken twice"
            assert self._node is not None and self._node in self._node.town.nodes, "the node that gave it is gone"
            self._shown.add(self._token)
            self.returns += 1
            self.far_returns += link.world is not self._node
            assert link.watching == WATCHED, f"{link.watching} is back"
            if self.held:
                # What the lost link was told last may not have come: it holds less than it believes, perhaps, and is
                # told so once it says beats (protocol.md, 12.3).
                link.say(Beats([number for ref in sorted(self.held) for number in (ref, -1)]))
        else:
            self.held.clear()
            self._missed.clear()
            link.say(Watch(link.next_id(), sorted(WATCHED)))
        self._token, self._node = link.token, link.world

    def _note_missed(self) -> None:
        """The connection is broken: what it has not read of it never came."""
        if self.link is not None:
            self._missed |= {one.ref for one in self.link.messages[self._read :] if isinstance(one, Taken)}

    def _take(self, link: Client) -> None:
        while self._read < len(link.messages):
            message = link.messages[self._read]
            self._read += 1
            if isinstance(message, Taken):
                lost = message.why == "not_held" and message.ref not in self._missed
                assert not lost, f"it was never told that it holds {message.ref} no longer"
                self.held.discard(message.ref)
            ref = self._asked.pop(getattr(message, "id", 0), 0)
            if ref and isinstance(message, Done):
                self.held.add(ref)
