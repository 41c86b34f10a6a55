"""What lost links watched and held, kept until their clients come back for it (protocol.md, section 22.3).

A link whose client wants it has a token. When it is lost, all that it is let go of is kept under that token for as long
as its devices are in grace: names and refs, no place among watchers, so that a change costs nothing for who is away.
The client's next hello takes it back, a slice each turn, and nobody is told anything by that.

Whoever shows a token and is not the client that it was given to learns nothing by it, and takes nothing away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from presenced.core.channel_rules import may_watch
from presenced.core.delays import DelayQueue
from presenced.core.model import GONE, GRACE, Device, Parked, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.parts.channels import Channels
from presenced.core.parts.contacts import Contacts
from presenced.core.parts.holders import Holders
from presenced.core.parts.leases import Leases
from presenced.core.parts.watches import Watches
from presenced.core.policy import Policy
from presenced.limits import PARKED_LINK_ENTRIES, PARKED_MAX
from presenced.wire.messages import TakenWhy

SLICE = 1_000
"""Devices, and as many users and channels, that are brought back in one turn: about 2 ms."""

RESUMED: Final = "resumed"
UNKNOWN: Final = "unknown"
USED: Final = "used"
LATE: Final = "late"
OTHER: Final = "other"
LIMIT: Final = "limit"
CUT_OFF: Final = "cut_off"
OUTCOMES = (RESUMED, UNKNOWN, USED, LATE, OTHER, LIMIT, CUT_OFF)
"""What came of a token that a hello showed. It was good; nothing is known of it; it was used before, or its client has
had another link since; it came too late; another client showed it, or the same with another device or other rights;
its link watched more than it may now; its user was kicked or erased, or the token of the link revoked."""

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
        self._parked: dict[str, Parked] = {}
        """By token. What has ended is among them for a while, so that it can be told why."""
        self._by_user: dict[str, list[Parked]] = {}
        """Those that have not ended."""
        self._services: dict[Parked, None] = {}
        """The ones that held devices by refs, until these are taken back."""
        self._waiting: dict[int, DelayQueue[tuple[str, Parked]]] = {}
        """Each once, by how long it is good: as many queues as there are graces."""
        self._returning: dict[Session, bool] = {}
        """Links that have something to take back, and whether that has begun with what they watch."""
        self._is_short = False

    # --- a link is lost ---------------------------------------------------------------------------------------

    def park(self, session: Session, now_ms: int) -> None:
        """The session's link is lost, and it is about to be let go of: keep what that is. O(1).

        What an earlier link of the same client had is of no use to it, and nobody can fill the place by many links."""
        if not session.resume or self._is_short or session.ended or session.parked is not None:
            # The last: it was being brought back itself. It has to begin anew.
            return
        size = PARKED_LINK_ENTRIES + sum(len(held or ()) for held in (session.watching, session.channels, session.refs))
        parked = session.parked = Parked(
            session,
            size,
            follows_contacts=self._contacts.is_told(session),
            watches_all=self._outboxes.is_told_all(session),
        )
        for other in list(self._by_user.get(session.user_name, ())):
            if _is_of_same(other, parked):
                self._end(other, USED)
        self._parked[session.resume] = parked
        self._by_user.setdefault(session.user_name, []).append(parked)
        if session.refs:
            self._services[parked] = None
        self.count += 1
        self.entries += size
        device = session.device
        self._wait(session.resume, parked, now_ms, self._policy.grace_of(device.kind if device is not None else ""))
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

    def forget(self, user_name: str, before_ms: int | None = None) -> None:
        """Give up what the lost links of this name had; with `before_ms` those whose tokens were made before that.
        O(these)."""
        for parked in list(self._by_user.get(user_name, ())):
            if before_ms is None or parked.issued_ms < before_ms:
                self._end(parked, CUT_OFF)

    def set_short(self, is_short: bool) -> None:
        """Memory is short from now on, or no longer. While it is, nothing is kept."""
        self._is_short = is_short

    # --- its client is back -----------------------------------------------------------------------------------

    def take(self, token: str, session: Session, device_id: str, *, is_known: bool = False) -> bool:
        """Whether the session is the same client's whose link had the token, and takes back what is kept under it:
        the turns from now on bring it. `is_known`: it is, because the link was open until just now. O(1)."""
        parked = self._parked.get(token)
        outcome = RESUMED
        if parked is None:
            outcome = UNKNOWN
        elif parked.ended:
            outcome = parked.ended
        elif not (is_known or _is_same(parked, session, device_id)):
            outcome = OTHER
        elif parked.watched > self._policy.watch_limit(session.role):
            outcome = LIMIT
        else:
            session.parked = parked
            self._returning[session] = False
            self._unlist(parked)
            parked.end(USED)
        self.outcomes[outcome] += 1
        return outcome == RESUMED

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

    def _bring_devices(self, session: Session, parked: Parked, most: int, now_ms: int) -> int:
        """Let the session hold up to so many devices again; returns how many. What is another's by now it is told."""
        taken, devices = parked.take_devices(most)
        for ref, why in taken:
            self._holders.tell(session, ref, why)
        instance, take_back = session.instance, self._leases.take_back
        for ref, device in devices:
            if device.state == GRACE and device.holder == instance:
                take_back(device, session, ref, now_ms)
            elif device.session is not session:
                self._holders.tell(session, ref, _why_taken(parked, device))
        return len(devices)

    def _bring_watch(self, session: Session, parked: Parked, most: int, now_ms: int) -> int:
        """Let the session watch up to so many users and as many channels again; returns how many."""
        names, channels = parked.take_watch(most)
        if names:
            self._watches.add(now_ms, session, names)
        for channel in channels:
            if may_watch(self._policy, session, channel):
                self._channels.watch(session, channel)
        return len(names) + len(channels)

    def _end_return(self, session: Session, parked: Parked) -> None:
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
                    self._wait(token, parked, now_ms, good_ms)
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
        wanted = {id(session.parked) for session in self._returning}
        for parked in self._parked.values():
            is_done = parked.ended and id(parked) not in wanted
            assert not is_done or (parked.is_empty and parked not in self._services), "what has ended is kept"

    # --- within -----------------------------------------------------------------------------------------------

    def _wait(self, token: str, parked: Parked, now_ms: int, good_ms: int) -> None:
        queue = self._waiting.get(good_ms)
        if queue is None:
            queue = self._waiting[good_ms] = DelayQueue(good_ms)
        queue.add(now_ms, (token, parked))

    def _end(self, parked: Parked, why: str) -> None:
        """Nobody may take it back any longer. Why is remembered for a while."""
        self._unlist(parked)
        parked.end(why)
        self._clear(parked)

    def _unlist(self, parked: Parked) -> None:
        self.count -= 1
        of_user = self._by_user[parked.user_name]
        of_user.remove(parked)
        if not of_user:
            del self._by_user[parked.user_name]

    def _clear(self, parked: Parked) -> None:
        """Keep nothing of it but that there was something. O(what there is)."""
        self._services.pop(parked, None)
        if parked.lost is not None:
            parked.lost.parked = None
            parked.lost = None
        parked.clear()
        self._resize(parked, min(parked.size, PARKED_LINK_ENTRIES))

    def _resize(self, parked: Parked, size: int) -> None:
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

    def _forget_token(self, token: str, parked: Parked) -> None:
        del self._parked[token]
        self._resize(parked, 0)


def _is_same(parked: Parked, session: Session, device_id: str) -> bool:
    """Whether the session is of the client whose lost link had this, with the same rights."""
    return (
        parked.user_name == session.user_name
        and parked.role == session.role
        and parked.instance == session.instance
        and parked.device_id == device_id
        and parked.rights == session.rights
    )


def _is_of_same(one: Parked, other: Parked) -> bool:
    """Whether the two are of one device, or of one client without a device of its own."""
    if (one.role, one.device_id) != (other.role, other.device_id):
        return False
    return one.device_id != "" or one.instance == other.instance


def _why_taken(parked: Parked, device: Device) -> TakenWhy:
    if device.state != GONE:
        return "replaced"
    if parked.kicked is not None and device in parked.kicked:
        return "kicked"
    return "ended" if parked.leased is not None and device in parked.leased else "lost"
