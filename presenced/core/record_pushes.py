"""When the watchers of a user are told of a changed record: at once, or when the user's spacing is over (`spacing`)."""

from __future__ import annotations

from presenced.core.model import Face, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part
from presenced.core.policy import Policy
from presenced.core.spacing import Spacing


class RecordPushes(Part):
    """Owns which users' changes still wait to be told. A push always has the record of the moment at which it is sent
    (`outboxes`)."""

    def __init__(self, policy: Policy, outboxes: Outboxes) -> None:
        self.spacing = Spacing(policy)
        self.deadline_source = self.spacing.waiting
        self._policy = policy
        self._outboxes = outboxes
        self._released: list[User] = []
        """Users whose spacing is over. Besides the record there may be more to tell of them."""

    # --- what has changed -------------------------------------------------------------------------------------

    def push(self, user: User, now_ms: int) -> None:
        """The user's record has changed. O(1), and what it costs to tell."""
        if not (user.watchers or self._outboxes.tells_of(user)):
            return
        if not self._policy.change_spacing_ms:
            self._outboxes.fan_out(user)
        elif self.spacing.admit(user, now_ms):
            self._tell(user)

    def push_face(self, face: Face, now_ms: int) -> None:
        """The record of a face of a user has changed. O(1), and what it costs to tell."""
        if face.watchers and self.spacing.admit(face, now_ms):
            self._tell(face)

    def push_erased(self, user: User) -> None:
        """The user was erased, which is told at once, whatever the spacing. O(watchers)."""
        if user.watchers or self._outboxes.tells_of(user):
            self._outboxes.fan_out(user)

    def push_erased_face(self, face: Face) -> None:
        """Nothing is known of the user whose face this is: its watchers are told at once. O(watchers)."""
        self._outboxes.fan_out_face(face)

    # --- time -------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Tell of the users whose spacing is over. O(these)."""
        self._release(self.spacing.take_due(now_ms))

    def respace(self, now_ms: int) -> None:
        """The policy's spacing has changed: tell of all users who waited under the old one. O(these)."""
        self._release(self.spacing.respace(now_ms))

    def _release(self, told: list[User | Face]) -> None:
        for one in told:
            # Also if the record is as it was pushed last: a reply may have shown a watcher another one in between.
            if one.watchers or (isinstance(one, User) and self._outboxes.tells_of(one)):
                self._tell(one)
            if isinstance(one, User):
                self._released.append(one)

    def _tell(self, told: User | Face) -> None:
        outboxes = self._outboxes
        if isinstance(told, Face):
            self.spacing.pay(told, len(told.watchers))
            outboxes.fan_out_face(told)
            return
        deliveries = len(told.watchers or ()) + len(outboxes.everyone)
        if outboxes.narrowed:
            deliveries += len(outboxes.narrowed_to(told))
        self.spacing.pay(told, deliveries)
        outboxes.fan_out(told)

    # --- what others take -------------------------------------------------------------------------------------

    def take_released(self) -> list[User]:
        """The users since the last call whose spacing is over."""
        released, self._released = self._released, []
        return released

    def untold(self) -> list[User | Face]:
        """The users, and faces of users, whose last change some watchers have not been told yet. O(these)."""
        wide = self._outboxes.wide.under_way
        return [*(one for one in self.spacing.waiting if one.push_waits), *wide]
