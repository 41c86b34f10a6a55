"""What is said of users: their status, claims, schedule and text, their devices, what they did and when they were seen.

Each method is one statement and changes everything that follows from it; who may say it, and of whom, has been checked
by then. What links do (come, go, fall silent) is the engine's.
"""

from __future__ import annotations

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.merge import countable
from presenced.core.model import GONE, Claim, Device, Schedule, Session, User
from presenced.core.parts.activity import keep_activity, recent_activities
from presenced.core.parts.claims import Claims
from presenced.core.parts.leases import Leases
from presenced.core.parts.users import Users
from presenced.core.publisher import Publisher
from presenced.core.records import ActivityAdded
from presenced.core.standing import MANUAL
from presenced.wire.messages import ActivityInfo, DeviceStatus, Source, Status, StatusRequest


class Statements:
    """Applies what is said; owns no state of its own."""

    def __init__(
        self, users: Users, leases: Leases, claims: Claims, ledger: Ledger, clock: Clock, publisher: Publisher
    ) -> None:
        self._users = users
        self._leases = leases
        self._claims = claims
        self._ledger = ledger
        self._clock = clock
        self._publisher = publisher

    # --- the whole user ---------------------------------------------------------------------------------------

    def set_status(
        self,
        now_ms: int,
        user: User,
        device: Device | None,
        *,
        status: StatusRequest | None,
        text: str | None,
        emoji: str | None,
        for_ms: int,
    ) -> None:
        """Set the manual status, the text or both, for `for_ms` (0 = until changed); None leaves a part as it is.

        Said on a device, it counts as input there.
        """
        due_ms = now_ms + for_ms if for_ms else 0
        if status == "offline":
            # A text that is said with it is the last thing that others see.
            self._set_text(user, text, emoji, due_ms)
        if status == "auto":
            self._claims.end(user, MANUAL, now_ms)
        elif status is not None:
            self.add_claim(now_ms, user, MANUAL, "manual", status, due_ms)
        if status != "offline":
            self._set_text(user, text, emoji, due_ms)
        if device is not None and device.state != GONE:
            # One that is gone has no deadline to arm.
            self._leases.input(device, now_ms)
        self._publisher.mark_dirty(user)

    def _set_text(self, user: User, text: str | None, emoji: str | None, due_ms: int) -> None:
        if text is None and emoji is None:
            return
        new_text = user.text if text is None else text
        new_emoji = emoji if emoji is not None else ("" if text == "" else user.emoji)
        if text is None and user.text and not due_ms:
            # Another emoji beside the same text: that still ends when it was said to.
            until_ms, due_ms, by_wall = user.text_until_ms, user.text_due_ms, user.text_by_wall
        else:
            until_ms, by_wall = due_ms + self._clock.offset_ms if due_ms else 0, False
        self._claims.set_text(user, new_text, new_emoji, until_ms, due_ms, by_wall=by_wall)

    def add_claim(
        self,
        now_ms: int,
        user: User,
        name: str,
        source: Source,
        status: Status,
        due_ms: int,
        *,
        by_wall: bool = False,
        ends: tuple[int, int] | None = None,
        device: str = "",
    ) -> None:
        """Claim a status until `due_ms` (0 = until it is ended); one of the same name is replaced. `by_wall`: the end
        was said as a wall time, and moves if the clock is set. `ends`: both kinds were said (`Claim.ends`). It ends
        with `device`, a live one of the user, if one is given.

        Raises `RequestError` (`claim_limit`). O(claims).
        """
        offset_ms = self._clock.offset_ms
        until_ms = due_ms + offset_ms if due_ms else 0
        claim = Claim(
            name, source, status, now_ms + offset_ms, until_ms, due_ms, by_wall=by_wall, ends=ends, device=device
        )
        self._claims.set(user, claim, now_ms)

    def end_claim(self, now_ms: int, user: User, name: str) -> None:
        """End the claim of this name, if there is one. O(claims)."""
        self._claims.end(user, name, now_ms)

    def set_schedule(self, now_ms: int, user: User, schedule: Schedule | None) -> None:
        """Set or (None) drop the weekly schedule, and claim what it says for now."""
        self._claims.set_schedule(user, schedule, now_ms)

    def touch(self, now_ms: int, session: Session, user: User, device: Device | None) -> None:
        """The session says that the user was seen just now: last seen and nothing else. Of one who hides, watchers are
        not told even that.

        A device that another link holds stays as it is: only its own link can say that it is there, and its lease
        must run out if it does not.
        """
        if device is not None and device.session in (None, session):
            device.heard_ms = now_ms
            self._leases.log_device(device)
        if user.claim is None or user.claim.status != "offline":
            self._publisher.see(user, now_ms)

    # --- devices ----------------------------------------------------------------------------------------------

    def set_device(
        self,
        now_ms: int,
        device: Device,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
    ) -> None:
        """Set the device's own status, priority or name; None leaves one as it is. Counts as input on it, unless
        only the name is set. Raises `RequestError` (`device_limit`) where the sign of the priority changes and there is
        no place for it."""
        if priority is not None and (priority < 0) != (device.priority < 0):
            self._users.make_room(device.user, priority)
        if status is not None or priority is not None or name is None:
            self._leases.input(device, now_ms)
        counted = countable(device)
        before = (device.status, device.priority, device.name)
        device.status = device.status if status is None else status
        device.priority = device.priority if priority is None else priority
        device.name = device.name if name is None else name
        if (device.status, device.priority, device.name) != before:
            self._leases.log_device(device)
        if counted and not countable(device):
            self._publisher.uncount(device, "idle")
        self._publisher.mark_dirty(device.user)

    def forget_device(self, device: Device) -> None:
        """Remember a device that is gone no more."""
        self._users.forget_device(device)
        self._publisher.mark_dirty(device.user)

    # --- activity ---------------------------------------------------------------------------------------------

    def add_activity(
        self, now_ms: int, user: User, device: Device | None, activity: ActivityInfo, *, may_repeat: bool
    ) -> None:
        """The user did this, on that device if one is given: then it counts as input there, whenever it was.
        `may_repeat`: its time is the application's, and one that is known already is the same."""
        done = activity
        wall_ms, trusted_ms = self._clock.wall_ms(now_ms), self._clock.trusted_wall_ms(now_ms)
        copies = keep_activity(user, done, wall_ms, 1 if may_repeat else None, trusted_ms=trusted_ms)
        self._ledger.add(
            ActivityAdded(user.name, done.activity, done.channel, done.device, done.at_ms, done.payload, copies)
        )
        if device is not None:
            self._leases.input(device, now_ms)
            self._publisher.mark_dirty(user)

    def activities(self, now_ms: int, user: User, limit: int, since_ms: int) -> list[ActivityInfo]:
        """Up to `limit` of the user's activities at or after `since_ms`, newest first. What has become too old is
        dropped, and perhaps with it the user. O(limit)."""
        wall_ms, trusted_ms = self._clock.wall_ms(now_ms), self._clock.trusted_wall_ms(now_ms)
        found = recent_activities(user, limit, since_ms, wall_ms, trusted_ms)
        self._users.forget_if_blank(user)
        return found
