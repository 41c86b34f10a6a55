"""What lost links watched and held, kept until their clients come back for it (protocol.md, section 22.3).

A link whose client wants it has a token. When it is lost, all that it is let go of is kept under that token for as long
as its devices are in grace: names and refs, no place among watchers, so that a change costs nothing for who is away.
The client's next hello takes it back, a slice each turn, and nobody is told anything by that.

Whoever shows a token and is not the client that it was given to learns nothing by it, and takes nothing away.

The file is long because one object counts and bounds all that is kept, also what other nodes give and are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from presenced.core.channel_rules import may_watch
from presenced.core.delays import DelayQueue
from presenced.core.far_port import FarDevicesPort
from presenced.core.link_client import LinkClient
from presenced.core.lost_link import HeldFar, Parked
from presenced.core.model import GONE, GRACE, Device, ParkedLink, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.channels import Channels
from presenced.core.parts.contacts import Contacts
from presenced.core.parts.holders import Holders
from presenced.core.parts.leases import Leases
from presenced.core.parts.watches import Watches
from presenced.core.policy import Policy
from presenced.limits import PARKED_LINK_ENTRIES, PARKED_MAX

SLICE = 1_000
"""Devices, and as many users and channels, that are brought back in one turn: about 2 ms."""

GIVEN_MAX: Final = 100_000
"""Of a link that had more, users, channels and devices together, nothing is given to another node: all of it would go
through the log that the nodes share, some MB for as many."""

RESUMED: Final = "resumed"
UNKNOWN: Final = "unknown"
USED: Final = "used"
LATE: Final = "late"
OTHER: Final = "other"
LIMIT: Final = "limit"
CUT_OFF: Final = "cut_off"
OUTCOMES = (RESUMED, UNKNOWN, USED, LATE, OTHER, LIMIT, CUT_OFF)
"""What came of a token that a hello showed. It was good; nothing is known of it here, nor was anything given for it
by the node that it is of; it was used before, or its client has had another link since; it came too late; another
client showed it, or the same with another device or other rights; its link watched more than it may now; its user was
kicked or erased, or the token of the link revoked."""

BOUND: Final = "bound"
MEMORY: Final = "memory"
GIVEN_UP = (BOUND, MEMORY)
"""Why what a link had was given up before its time: others were lost later and there is a bound on all, or memory is
short."""


class Resumptions(Part):
    """Owns what is parked, and what is being brought back."""

    def __init__(
        self,
        policy: Policy,
        watches: Watches,
        channels: Channels,
        leases: Leases,
        holders: Holders,
        contacts: Contacts,
        outboxes: Outboxes,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        """Tokens that hellos have shown, by `OUTCOMES`, counted for the operator."""
        self.given_up: Counter[str] = Counter()
        """Lost links, by `GIVEN_UP`."""
        self.count = 0
        """Lost links whose clients may take back what they had."""
        self.entries = 0
        """What all of them count in `PARKED_MAX`, and what is remembered of others."""
        self._policy = policy
        self._watches = watches
        self._channels = channels
        self._leases = leases
        self._holders = holders
        self._contacts = contacts
        self._outboxes = outboxes
        self._parked: dict[str, ParkedLink] = {}
        """By token. What has ended is among them for a while, so that it can be told why."""
        self._by_user: dict[str, list[ParkedLink]] = {}
        """Those that have not ended."""
        self._services: dict[ParkedLink, None] = {}
        """The ones that held devices by refs, until these are taken back."""
        self._waiting: dict[int, DelayQueue[tuple[str, ParkedLink]]] = {}
        """Each once, by how long it is good: as many queues as there are graces."""
        self._returning: dict[Session, bool] = {}
        """Links that have something to take back, and whether that has begun with what they watch."""
        self._leaving: dict[ParkedLink, None] = {}
        """What another node is being given."""
        self._far: FarDevicesPort | None = None
        self._tell_cut_off: Callable[[str, int | None], object] | None = None
        self._is_short = False

    def share(self, far: FarDevicesPort, tell_cut_off: Callable[[str, int | None], object]) -> None:
        """Links of this server may hold devices about which other nodes decide, and what other nodes give may be on
        its way here: call `tell_cut_off` with what `forget` is called with."""
        self._far = far
        self._tell_cut_off = tell_cut_off

    # --- a link is lost ---------------------------------------------------------------------------------------

    def park(self, session: Session, now_ms: int) -> None:
        """The session's link is lost, and it is about to be let go of: keep what that is. O(1).

        What an earlier link of the same client had is of no use to it, and nobody can fill the place by many links."""
        if not session.resume or self._is_short or session.ended or session.parked is not None:
            # The last: it was being brought back itself. It has to begin anew.
            return
        device_id, kind = self.device_of(session)
        parked = session.parked = Parked(session, device_id, session.issued_ms, self._policy.grace_of(kind))
        parked.lost = session
        parked.keep_wishes(
            len(session.watching or ()),
            watches_contacts=session.watched_contacts is not None,
            follows_contacts=self._contacts.is_told(session),
            watches_all=self._outboxes.is_told_all(session),
        )
        size = sum(len(held or ()) for held in (session.watching, session.channels, session.refs))
        if self._far is not None:
            far = self._far.held(session)
            parked.keep_far(far)
            size += len(far)
        self._file(session.resume, parked, size, now_ms, holds=bool(session.refs or parked.far))

    def device_of(self, session: Session) -> tuple[str, str]:
        """The id and the kind of the link's own device, wherever that is; two empty ones if it has none. O(1)."""
        if session.device is not None:
            return session.device.id, session.device.kind
        return self._far.own_device(session) if self._far is not None else ("", "")

    def has_grace(self, session: Session) -> bool:
        """Whether the own device of the link, if it has one, stays for a while when the link is lost. O(1)."""
        return self._policy.grace_of(self.device_of(session)[1]) > 0

    def _file(self, token: str, parked: ParkedLink, size: int, now_ms: int, *, holds: bool) -> None:
        """Keep this under the token. `holds`: there are devices among it."""
        for other in list(self._by_user.get(parked.user_name, ())):
            if parked.is_beside(other):
                self._end(other, USED)
        self._parked[token] = parked
        self._by_user.setdefault(parked.user_name, []).append(parked)
        if holds:
            self._services[parked] = None
        self.count += 1
        self._resize(parked, PARKED_LINK_ENTRIES + size)
        self._wait(token, parked, now_ms)
        while self.entries > PARKED_MAX:
            self._give_up_first(BOUND)

    def note_whole(self, session: Session) -> None:
        """The session of a lost link has been let go of wholly. O(1)."""
        if session.parked is not None:
            session.parked.lost = None
            session.parked = None

    def note_kicked(self, device: Device) -> None:
        """Somebody kicks the user of this device, which nobody holds. If a service whose link is lost did, it is told
        when it is back. O(services among lost links)."""
        for parked in self._services:
            if parked.instance == device.holder:
                parked.keep_kicked(device)

    def note_kicked_user(self, name: str) -> None:
        """A user was kicked, here or by another node. O(services among lost links)."""
        for parked in self._services:
            parked.keep_kicked_user(name)

    def forget(self, user_name: str, before_ms: int | None = None) -> None:
        """Give up what the lost links of this name had; with `before_ms` those whose tokens were made before that.
        O(these)."""
        for parked in list(self._by_user.get(user_name, ())):
            if before_ms is None or parked.issued_ms < before_ms:
                self._end(parked, CUT_OFF)
        if self._tell_cut_off is not None:
            self._tell_cut_off(user_name, before_ms)

    def set_short(self, is_short: bool) -> None:
        """Memory is short from now on, or no longer. While it is, nothing is kept."""
        self._is_short = is_short

    # --- its client is back -----------------------------------------------------------------------------------

    def take(self, token: str, session: Session, device_id: str, *, is_known: bool = False) -> bool:
        """Whether the session is the same client's whose link had the token, and takes back what is kept under it:
        the turns from now on bring it. `is_known`: it is, because the link was open until just now. O(1)."""
        outcome = self._judge(token, session, device_id, self._policy.watch_limit(session.role), is_known=is_known)
        if outcome == RESUMED:
            parked = session.parked = self._parked[token]
            self._returning[session] = False
            self._unlist(parked)
            parked.end(USED)
        self.outcomes[outcome] += 1
        return outcome == RESUMED

    def knows(self, token: str) -> bool:
        """Whether it is known what became of the link that had this token. O(1)."""
        return token in self._parked

    def give(
        self, token: str, client: LinkClient, device_id: str, watch_users_max: int, *, is_known: bool = False
    ) -> ParkedLink | None:
        """What is kept under the token, if this client may take it back, for another node to which it has come: nobody
        takes it back here from now on. None: there is nothing for it. `end_giving` has to follow. O(1)."""
        if self._judge(token, client, device_id, watch_users_max, is_known=is_known) != RESUMED:
            return None
        parked = self._parked[token]
        if parked.size > GIVEN_MAX:
            return None
        self._unlist(parked)
        parked.end(USED)
        self._leaving[parked] = None
        return parked

    def end_giving(self, parked: ParkedLink) -> None:
        """The other node has it all, or is gone. O(what is left)."""
        del self._leaving[parked]
        self._clear(parked)

    def adopt(self, token: str, parked: ParkedLink, now_ms: int) -> None:
        """Another node has given what a lost link had: its client may take it back here. Nothing happens while memory
        is short. O(what there is to give up for it)."""
        if self._is_short or token in self._parked:
            return
        devices = sum(map(len, (parked.far or {}).values()))
        size = len(parked.names) + len(parked.channels) + devices
        self._file(token, parked, size, now_ms, holds=bool(devices))

    def _judge(self, token: str, client: LinkClient, device_id: str, watch_users_max: int, *, is_known: bool) -> str:
        """One of `OUTCOMES`."""
        parked = self._parked.get(token)
        if parked is None:
            return UNKNOWN
        if parked.ended:
            return parked.ended
        if not (is_known or parked.is_of(client, device_id)):
            return OTHER
        return LIMIT if parked.watched > watch_users_max else RESUMED

    def bring_back_watch(self, session: Session, now_ms: int) -> None:
        """The records of the session's first turn are made: begin to bring back what it watches. What has changed in
        this turn is in the answers to what its client asks, and not told besides. O(`SLICE`)."""
        parked = session.parked
        if parked is None or session.ended:
            return
        self._returning[session] = True
        if parked.watches_all:
            self._watches.set_all(session, True)
        if parked.follows_contacts:
            self._contacts.follow(session)
        self._bring_watch(session, parked, SLICE, now_ms)
        self._end_return(session, parked)

    def end_session(self, session: Session, now_ms: int) -> None:
        """What it has not brought back yet it does not want any longer."""
        self._returning.pop(session, None)
        parked = session.parked
        if parked is not None and parked.lost is not session:
            session.parked = None
            self._clear(parked)

    def _bring_devices(self, session: Session, parked: ParkedLink, most: int, now_ms: int) -> int:
        """Let the session hold up to so many devices again; returns how many. What is another's by now it is told."""
        taken, devices = parked.take_devices(most)
        for ref, why in taken:
            self._holders.tell(session, ref, why)
        instance, take_back = session.instance, self._leases.take_back
        far = parked.take_far(most - len(devices))
        for ref, device in devices:
            if device.user.is_copy:
                # It was decided here when the link was lost.
                far.append(HeldFar(ref, device.user.name, device.id, parked.why_gone(device)))
            elif device.state == GRACE and device.holder == instance:
                take_back(device, session, ref, now_ms)
            elif device.session is not session:
                why = parked.why_gone(device) if device.state == GONE else "replaced"
                self._holders.tell(session, ref, why)
        if far and self._far is not None:
            self._far.hold_again(session, far, now_ms)
        return len(devices) + len(far)

    def _bring_watch(self, session: Session, parked: ParkedLink, most: int, now_ms: int) -> int:
        """Let the session watch up to so many users and as many channels again; returns how many."""
        names, channels = parked.take_watch(most)
        if names:
            self._watches.add(now_ms, session, names)
        for channel in channels:
            if may_watch(self._policy, session, channel):
                self._channels.watch(session, channel)
        return len(names) + len(channels)

    def _end_return(self, session: Session, parked: ParkedLink) -> None:
        """If all of it is back, that is over."""
        if parked.is_empty:
            del self._returning[session]
            session.parked = None
            self._clear(parked)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = nothing waits."""
        if self._returning or (self._is_short and self._parked):
            return 0
        if not self._parked:
            return None
        return min((queue.next_ms for queue in self._waiting.values() if queue.next_ms is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Bring back the next slice, and end what has waited for long enough. O(`SLICE`, and what ends)."""
        left = SLICE
        for session, has_begun in list(self._returning.items()):
            parked = session.parked
            if left > 0 and parked is not None:
                left -= self._bring_devices(session, parked, left, now_ms)
                if has_begun:
                    if left > 0:
                        left -= self._bring_watch(session, parked, left, now_ms)
                    self._end_return(session, parked)
        for good_ms, queue in list(self._waiting.items()):
            for token, parked in queue.take_due(now_ms):
                if parked.ended:
                    self._forget_token(token, parked)
                else:
                    self._end(parked, LATE)
                    self._wait(token, parked, now_ms)
            if not len(queue):
                del self._waiting[good_ms]
        until = self.entries - SLICE
        while self._is_short and self._parked and self.entries > until:
            self._give_up_first(MEMORY)

    def check(self, users: Iterable[User]) -> None:
        """What is counted is right, and nothing is kept of what has ended."""
        kept = [parked for parked in self._parked.values() if not parked.ended]
        assert self.count == len(kept) == sum(map(len, self._by_user.values())), "lost links are counted wrongly"
        assert self.entries == sum(parked.size for parked in self._parked.values()), "what is parked is counted wrongly"
        assert self.entries <= PARKED_MAX, "more is parked than may be"
        assert len(self._parked) == sum(map(len, self._waiting.values())), "a lost link is kept for ever"
        wanted = {id(session.parked) for session in self._returning} | set(map(id, self._leaving))
        for parked in self._parked.values():
            is_done = parked.ended and id(parked) not in wanted
            assert not is_done or (parked.is_empty and parked not in self._services), "what has ended is kept"

    # --- within -----------------------------------------------------------------------------------------------

    def _wait(self, token: str, parked: ParkedLink, now_ms: int) -> None:
        queue = self._waiting.get(parked.good_ms)
        if queue is None:
            queue = self._waiting[parked.good_ms] = DelayQueue(parked.good_ms)
        queue.add(now_ms, (token, parked))

    def _end(self, parked: ParkedLink, why: str) -> None:
        """Nobody may take it back any longer. Why is remembered for a while."""
        self._unlist(parked)
        parked.end(why)
        self._clear(parked)

    def _unlist(self, parked: ParkedLink) -> None:
        self.count -= 1
        of_user = self._by_user[parked.user_name]
        of_user.remove(parked)
        if not of_user:
            del self._by_user[parked.user_name]

    def _clear(self, parked: ParkedLink) -> None:
        """Keep nothing of it but that there was something. O(what there is)."""
        self._services.pop(parked, None)
        if parked.lost is not None:
            parked.lost.parked = None
            parked.lost = None
        parked.clear()
        self._resize(parked, min(parked.size, PARKED_LINK_ENTRIES))

    def _resize(self, parked: ParkedLink, size: int) -> None:
        self.entries += size - parked.size
        parked.size = size

    def _give_up_first(self, why: str) -> None:
        """Keep nothing of the one whose time is over first, not even that there was one. O(what there is)."""
        queue = min(self._waiting.values(), key=lambda queue: queue.next_ms or 0)
        first = queue.take_first(queue.next_ms or 0)
        assert first is not None
        token, parked = first
        if not parked.ended:
            self.given_up[why] += 1
            self._end(parked, why)
        self._forget_token(token, parked)
        if not len(queue):
            del self._waiting[queue.delay_ms]

    def _forget_token(self, token: str, parked: ParkedLink) -> None:
        del self._parked[token]
        self._resize(parked, 0)
