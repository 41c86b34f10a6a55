"""Wires the parts of the presence state, and gives the server's turn one thing to drive.

The rules are in the parts (`core.parts`), each with its own piece of the state, and nobody else writes it: a request
calls the one part that it concerns. What links do is in `sessions`. The engine knows in which order the parts are
asked, and nothing of what they do. Every input takes `now_ms` first and either applies wholly or raises `RequestError`
and changes nothing.

The file is long because it makes every part, and names it once in each order in which parts are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from presenced import limits
from presenced.core.clock import Clock
from presenced.core.company import Company
from presenced.core.contacts.news import ContactNews
from presenced.core.curiosity import Curiosity
from presenced.core.forecast import Forecasts
from presenced.core.ledger import Ledger
from presenced.core.manual_status import ManualStatus
from presenced.core.model import GRACE, Session, User
from presenced.core.moderation import Moderation
from presenced.core.obligations import Obligations
from presenced.core.outboxes import Outboxes
from presenced.core.part import Parts
from presenced.core.parts.activity import Activities
from presenced.core.parts.awaits import Awaits
from presenced.core.parts.channel_views import ChannelViews
from presenced.core.parts.channels import Channels
from presenced.core.parts.claims import Claims
from presenced.core.parts.clock_jumps import ClockJumps
from presenced.core.parts.contacts import Contacts
from presenced.core.parts.copied_records import CopiedRecords
from presenced.core.parts.devices import Devices
from presenced.core.parts.erasures import Erasures
from presenced.core.parts.events import Events
from presenced.core.parts.expiry import Expiry
from presenced.core.parts.followers import Followers
from presenced.core.parts.holders import Holders
from presenced.core.parts.leases import Leases
from presenced.core.parts.own_state import OwnStates
from presenced.core.parts.positions import Positions
from presenced.core.parts.privacy import PrivacySettings
from presenced.core.parts.releases import Releases
from presenced.core.parts.resumptions import Resumptions
from presenced.core.parts.revocations import Revocations
from presenced.core.parts.schedules import Calendar, Schedules, no_calendar
from presenced.core.parts.session_leases import SessionLeases
from presenced.core.parts.showings import Showings
from presenced.core.parts.sleep import Sleep
from presenced.core.parts.texts import Texts
from presenced.core.parts.user_ends import UserEnds
from presenced.core.parts.users import Users
from presenced.core.parts.views import Views
from presenced.core.parts.watches import Watches
from presenced.core.permissions import Permissions
from presenced.core.policy import Policy
from presenced.core.projection import Rules
from presenced.core.publisher import Publisher
from presenced.core.record_pushes import RecordPushes
from presenced.core.records import Fact, UsersAsleep
from presenced.core.sessions import Sessions
from presenced.core.sight import Sight
from presenced.core.wheel import TICK_BITS, Wheel


class Engine:
    """All presence state of a server. See the module's text for the parts."""

    def __init__(
        self,
        policy: Policy,
        *,
        now_ms: int,
        wall_ms: int,
        epoch: int,
        calendar: Calendar = no_calendar,
        tick_bits: int = TICK_BITS,
    ) -> None:
        """This is long because it makes every part, in the order in which the parts need each other. `tick_bits`: how
        fine deadlines are (`wheel`)."""
        self.policy = policy = msgspec.structs.replace(policy)
        """Its own, for the parts to share: `set_policy` changes it."""
        self.read_only = ""
        """Why nothing durable can be promised now (an error code); "" while all is well."""
        self.memory_level = 0
        """How short memory is: 0 = not at all, 1 = what makes new state is refused, 2 = so is what has long answers."""
        self.refused: Counter[str] = Counter()
        """Requests answered with an error, by code, counted for the operator."""
        self.wheel = wheel = Wheel(now_ms, tick_bits)
        self.ledger = ledger = Ledger(epoch, now_ms)
        self.clock = clock = Clock(wall_ms - now_ms)
        self.outboxes = outboxes = Outboxes()
        self.obligations = Obligations()
        self.parts = parts = Parts()
        self.pushes = pushes = RecordPushes(policy, outboxes)
        self.publisher = publisher = Publisher(policy, ledger, clock, pushes)
        self.users = Users(parts, publisher)
        self.leases = Leases(policy, wheel, ledger, clock, publisher)
        self.heard = self.leases.heard
        """See there. Bound here, because it is called for every frame."""
        self.session_leases = SessionLeases(policy, wheel, self.users.look_again)
        self.devices = Devices(self.leases, ledger, publisher)
        self.ends = ends = UserEnds(wheel, publisher)
        self.texts = Texts(ledger, clock, ends)
        self.claims = Claims(self.leases, self.texts, ends, ledger, clock)
        self.schedules = Schedules(self.claims, ends, ledger, clock, calendar)
        self.manual_status = ManualStatus(self.leases, self.claims, self.texts, publisher)
        self.activities = Activities(self.users, self.leases, ledger, clock, publisher)
        self.sight = Sight(policy, ledger, publisher)
        self.curiosity = Curiosity(policy)
        outboxes.show_by(self.sight.shown)
        self.awaits = Awaits(self.users, self.sight, wheel, clock, publisher, outboxes)
        self.watches = Watches(policy, self.users, self.session_leases, self.sight, publisher, outboxes, self.awaits)
        self.sleep = Sleep(policy, self.users, parts, self.session_leases, publisher, clock, ledger, outboxes.owes)
        publisher.tell_departed(self.sleep.went_offline)
        self.positions = Positions(self.users, self.sleep, self.watches, self.sight, ledger, publisher, outboxes)
        self.copied_records = CopiedRecords(ledger, publisher)
        self.views = Views(self.users, self.sight, self.positions, pushes, outboxes)
        self.own_states = OwnStates(clock, publisher, outboxes)
        views = ChannelViews(self.users, self.sight)
        self.channels = Channels(self.leases, self.watches, views, ledger, publisher, pushes, outboxes)
        if views.needs_membership:
            publisher.tell_crossings(self.watches.status_crossed)
        self.permissions = Permissions(self.users, self.watches, self.channels)
        self.showings = Showings(self.users, ledger, self.permissions)
        self.company = Company(self.users, self.sight, publisher, self.channels)
        self.followers = Followers(clock, ledger)
        self.events = Events(policy, ledger, clock, publisher, outboxes, self.obligations, self.followers, now_ms)
        self.contacts = Contacts(self.users, ledger, publisher, ContactNews(self.permissions, self.events, outboxes))
        self.privacy = PrivacySettings(policy, self.users, self.showings, ledger, self.permissions, self.contacts)
        self.erasures = Erasures(parts, ledger, clock, self.events, self.contacts, publisher.said)
        self.holders = Holders(outboxes, self.obligations)
        self.revocations = Revocations(ledger, clock)
        self.releases = Releases((self.leases, self.watches, self.channels, self.awaits))
        self.resumptions = Resumptions(
            policy, self.watches, self.channels, self.leases, self.holders, self.contacts, outboxes
        )
        self.releases.tell_parked(self.resumptions.note_whole)
        self.forecasts = Forecasts(Rules(policy, clock, self.leases, self.schedules, self.releases), wheel)
        self.clock_jumps = ClockJumps(self.users, parts, clock, self.sleep, self.leases)
        self.sessions = Sessions(
            parts,
            self.users,
            self.leases,
            self.session_leases,
            self.devices,
            self.holders,
            self.own_states,
            self.releases,
            self.resumptions,
            self.obligations,
            outboxes,
        )
        self.moderation = Moderation(
            self.sessions, self.session_leases, self.revocations, self.erasures, self.resumptions
        )
        self.expiry = Expiry(
            wheel,
            parts,
            self.sessions,
            self.leases,
            self.session_leases,
            self.claims,
            self.texts,
            self.schedules,
            ends,
            self.awaits,
        )
        parts.add(
            # Before anything ends by itself: what is let go of has its grace from the loss, and a clock that was set
            # moves deadlines.
            self.releases,
            # What was let go of just now is taken back in the same turn.
            self.resumptions,
            self.clock_jumps,
            # Leases know from when on the log is not to be believed before devices are held by it, and whatever comes
            # due is handled before the claims that schedules make.
            self.leases,
            self.session_leases,
            self.devices,
            self.expiry,
            # An erasure is restored before what was said since, claims before the text that is shown only while one
            # hides the user, and both before the record that shows them.
            self.erasures,
            self.claims,
            self.schedules,
            self.texts,
            self.activities,
            self.contacts,
            # Devices that are gone are shown to nobody, before watchers are filed by what is shown.
            # A block ends what is shown to the blocked: it is restored first.
            self.privacy,
            self.showings,
            self.revocations,
            self.watches,
            self.positions,
            self.pushes,
            self.publisher,
            self.copied_records,
            # They are about records.
            self.awaits,
            # What is told beside records, and made of them: own states first, since they are the user's own, then
            # channels, and events last, because they are about all of it.
            self.own_states,
            self.channels,
            self.followers,
            self.events,
            # A checksum is told behind all that is told beside it.
            self.views,
            # All that may keep somebody awake has had its turn.
            self.sleep,
        )
        # Slices of a wide fan-out, and of many awaits, come when a turn ends, and not by a tick.
        parts.add_deadline(outboxes.wide)
        parts.add_deadline(outboxes.corks)
        parts.add_deadline(self.awaits)

    # --- what the server decides ------------------------------------------------------------------------------

    def set_policy(self, policy: Policy, now_ms: int) -> None:
        """Apply another grace and spacing from now on (`Policy.take`). O(users whose push waits)."""
        if self.policy.take(policy):
            self.pushes.respace(now_ms)

    def set_memory_level(self, level: int) -> None:
        """Set how short memory is. What can be done without is given up."""
        self.memory_level = level
        self.events.set_short(level > 0)
        self.resumptions.set_short(level > 0)

    def set_read_only(self, code: str) -> None:
        """Refuse what must be durable from now on, with this code; an empty code ends that."""
        self.read_only = code
        if code == "read_only":
            # The log may lack facts of now in front of later ones, so that no position holds after a kill.
            self.positions.distrust()

    def note_refusal(self, code: str) -> None:
        """Count a request that is answered with an error."""
        self.refused[code] += 1

    # --- time -------------------------------------------------------------------------------------------------

    def set_wall(self, now_ms: int, wall_ms: int) -> None:
        """The wall clock shows this at `now_ms`. Times that are shown depend on it, and deadlines that were given as
        wall times."""
        self.clock_jumps.set(wall_ms - now_ms, now_ms)

    @property
    def next_ms(self) -> int | None:
        """When `tick` has to be called next: 0 = at once, None = not until something comes in. O(parts)."""
        next_ms: int | None = None
        for deadline in self.parts.deadlines:
            other_ms = deadline.next_ms
            if other_ms is not None and (next_ms is None or other_ms < next_ms):
                next_ms = other_ms
        return next_ms

    def tick(self, now_ms: int) -> None:
        """Apply what has become due, as much as a turn may take; `next_ms` says whether there is more.

        No record is made before all that has ended for its user is applied, so that it is one change.
        """
        self.ledger.reach(now_ms)
        self.publisher.said.let_pass(self.parts.tick, now_ms)

    def catch_up(self, now_ms: int) -> None:
        """Apply all that is due by now, however much: at a start, before anybody can ask."""
        while (next_ms := self.next_ms) is not None and next_ms <= now_ms:
            self.tick(now_ms)

    def settle(self, now_ms: int) -> None:
        """Make the records of all marked users anew, and queue what everybody is told of them. This is the end of a
        turn."""
        self.ledger.reach(now_ms)
        # Most turns do not need most of these calls: a turn with one change makes a hundred calls as it is.
        self.publisher.refresh_all(now_ms)
        if self.publisher.changes:
            self.publisher.tell_changes(now_ms)
        self.parts.settle(now_ms)
        # After what others are told: an answer must not come before that.
        if self.obligations.asking:
            until_bytes = self.outboxes.reply_bytes + limits.REPLY_BYTES_PER_TURN
            self.obligations.answer(now_ms, self.sessions.end_again, lambda: self.outboxes.reply_bytes >= until_bytes)
        if self.publisher.blank:
            self.forget_blank()

    @property
    def is_settled(self) -> bool:
        """Whether every change has become a fact that the log was given. O(1)."""
        return not self.publisher.has_dirty and not self.ledger.has_facts

    def stop(self) -> None:
        """The daemon is about to stop in order. Devices in grace were last seen before that, and all others until now.
        O(users), if a device is in grace."""
        self.releases.finish()
        self.followers.save_all()
        if self.leases.live == self.leases.connected:
            return
        for user in self.users.order:
            for device in () if user.is_copy else user.devices.values():
                if device.state == GRACE:
                    self.leases.note_silent(device)

    # --- the disk ---------------------------------------------------------------------------------------------

    def dump(self, now_ms: int, user: User) -> list[Fact]:
        """The facts about the user for a snapshot. What has become too old is dropped, and perhaps the user with it
        (from `users.order` too): so nothing is saved for ever because nobody asks for it. O(what is known of the
        user)."""
        facts = self.parts.facts_of(user, now_ms)
        self.users.forget_if_blank(user)
        return facts

    @property
    def shelves(self) -> int:
        """The number of shelves with users who sleep. It does not change while `sleep` is held."""
        return self.users.dormants.shelves

    def dump_asleep(self, shelf: int) -> UsersAsleep | None:
        """The users on one of the `shelves`, for a snapshot; None = there are none. Called before `dump`, while `sleep`
        is held: a user who wakes meanwhile is the last in `users.order`. O(1)."""
        return self.sleep.fact_of(shelf)

    def dump_general(self, now_ms: int) -> Iterator[Fact]:
        """The facts for a snapshot that are about no user. They are taken one by one, in slices, after the users."""
        return self.parts.general_facts(now_ms)

    def forget_blank(self) -> None:
        """Drop the users of whom nothing is known after all. O(users whose records were found empty)."""
        for user in self.publisher.take_blank():
            self.users.forget_if_blank(user)

    # --- links, as often as they speak ------------------------------------------------------------------------

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        """As `heard`, and the person's last input was `idle_ms` ago (None: no report). Returns whether a turn has to
        run for it. O(1), with no more calls than needed: there are more heartbeats than anything else."""
        device = session.device
        if device is not None:
            return self.leases.heartbeat(device, now_ms, idle_ms)
        self.heard(session, now_ms)
        return False

    def resume(self, session: Session) -> None:
        """The link reads again: queue what it has missed. O(what changed)."""
        if session.owed is not None:
            self.outboxes.resume(session)
            self.parts.resume_session(session)
