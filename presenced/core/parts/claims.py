"""Claims: what is stated for a whole user, by whom, and until when.

A user has any number of claims (up to a limit), each with a source and perhaps an end. The one that counts is kept in
`User.claim`; `precedence` says which that is. Ending one lets the next show by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Claim, Device, User
from presenced.core.part import Jump, Part, Restoring, Start, TakeUp
from presenced.core.parts.leases import Leases
from presenced.core.parts.texts import Texts
from presenced.core.parts.user_ends import UserEnds
from presenced.core.precedence import MANUAL, SCHEDULED, added, in_call, is_hidden, strongest, without
from presenced.core.records import ClaimSet, Fact
from presenced.errors import RequestError
from presenced.limits import CLAIMS_PER_USER_MAX
from presenced.wire.messages import Source, Status

FIND_USERS = 2_000
"""Users that one page of claims is sought among."""


class Claims(Part):
    """Sets and ends claims."""

    def __init__(self, leases: Leases, texts: Texts, ends: UserEnds, ledger: Ledger, clock: Clock) -> None:
        self._leases = leases
        self._texts = texts
        self._ends = ends
        self._ledger = ledger
        self._clock = clock

    # --- what is stated ---------------------------------------------------------------------------------------

    def add(
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
        """Claim a status from now until `due_ms` (0 = until it is ended); one of the same name is replaced. `by_wall`:
        the end was given as a wall time, and moves if the clock is set. `ends`: both kinds were given (`Claim.ends`).
        The claim ends with `device`, a live one of the user, if one is given (protocol.md, 13.7).

        Raises `RequestError` (`claim_limit`). O(claims).
        """
        until_ms = self._clock.wall_ms(due_ms) if due_ms else 0
        since_ms = self._clock.wall_ms(now_ms)
        claim = Claim(name, source, status, since_ms, until_ms, due_ms, by_wall, ends, device)
        self.set(user, claim, now_ms)

    def set(self, user: User, claim: Claim, now_ms: int) -> None:
        """Make a claim, or replace the one of its name. Raises `RequestError` (`claim_limit`). O(claims).

        The limit is for what applications claim: a person is never kept from saying something, and when a window
        opens nobody is there to be refused.
        """
        if claim.name != MANUAL and claim.name != SCHEDULED:
            others = [other for other in user.claims if other.name not in (claim.name, MANUAL, SCHEDULED)]
            if len(others) >= CLAIMS_PER_USER_MAX:
                raise RequestError(
                    "claim_limit", f"{user.name} has {CLAIMS_PER_USER_MAX} claims, as many as are allowed; end one"
                )
        # Last, even if it replaces one: within a source the newest counts.
        self._put(user, added(user.claims, claim), now_ms)
        self._log(claim, user)

    def end(self, user: User, name: str, now_ms: int) -> None:
        """End the claim of this name, if there is one, and what it covers. O(claims)."""
        rest = without(user.claims, name)
        if len(rest) != len(user.claims):
            self._put(user, rest, now_ms)
            self._ledger.add(ClaimSet(user.name, "", 0, 0, name, MANUAL))

    def extend(self, user: User, claim: Claim, until_ms: int) -> None:
        """Give a claim another end, which is not waited for here. It is no newer for that. O(1)."""
        claim.until_ms = until_ms
        self._log(claim, user, in_place=True)

    def find(
        self, order: list[User], name: str, after: int, limit: int, may_ask: Callable[[str], bool] | None = None
    ) -> tuple[int, list[tuple[User, Claim]]]:
        """Claims of this name (empty = of every name) of the users in `order`, from the end or from before place
        `after` on, and the place to go on from (0 = nowhere). `may_ask` leaves out users by name. O(`FIND_USERS`): a
        page may be short, or empty."""
        start = min(after or len(order), len(order))
        found: list[tuple[User, Claim]] = []
        place = start
        while place and start - place < FIND_USERS and len(found) < limit:
            place -= 1
            user = order[place]
            if user.claims and (may_ask is None or may_ask(user.name)):
                found += [(user, claim) for claim in user.claims if not name or claim.name == name]
        return place, found

    def _put(self, user: User, claims: tuple[Claim, ...], now_ms: int) -> None:
        was_in_call, was_hidden = in_call(user), is_hidden(user)
        user.claims = claims
        user.claim = strongest(claims)
        self._texts.reveal(user)
        if was_in_call != in_call(user):
            self._leases.call_is_input(user, now_ms)
        if not was_hidden:
            self._leases.tell_inputs(user)
        self._ends.changed(user)

    def _log(self, claim: Claim, user: User, *, in_place: bool = False) -> None:
        self._ledger.add(_fact(user, claim, in_place=in_place))

    def take_over(self, user: User, now_ms: int) -> None:
        """What another node decided about until now ends by this node's clock. O(claims)."""
        for claim in user.claims:
            if claim.name != SCHEDULED:
                claim.due_ms = self._clock.due_ms(claim.until_ms, now_ms)

    # --- what ends, and the clock -----------------------------------------------------------------------------

    def due(self, user: User, now_ms: int) -> None:
        """The user's wheel entry came out: end the claims that have come to their end; what they cover shows again.
        O(claims)."""
        ended = [claim for claim in user.claims if claim.due_ms and now_ms >= claim.due_ms]
        if ended:
            self._put(user, tuple(claim for claim in user.claims if claim not in ended), now_ms)
            for claim in ended:
                self._ledger.add(ClaimSet(user.name, "", 0, claim.until_ms, claim.name, claim.source))

    def end_device(self, device: Device, now_ms: int) -> None:
        """End the claims that were to end with the device. O(claims)."""
        if device.user.claims:
            self._end_with_devices(device.user, now_ms)

    def _end_with_devices(self, user: User, now_ms: int) -> None:
        for claim in user.claims:
            if claim.device:
                device = user.devices.get(claim.device)
                if device is None or device.state == GONE:
                    self.end(user, claim.name, now_ms)

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """A claim that ends at a wall time is due at another moment, and one that ends after a time ends at another
        wall time. O(claims)."""
        clock = self._clock
        if not user.claims:
            return
        for claim in user.claims:
            claim.since_ms = clock.shown_ms(claim.since_ms, clock.wall_ms(now_ms))
            if not claim.due_ms:
                continue
            if claim.ends is not None:
                lasting_ms, until_ms = claim.ends
                claim.due_ms = min(lasting_ms, clock.due_ms(until_ms, now_ms))
                claim.by_wall = claim.due_ms < lasting_ms
                claim.until_ms = until_ms if claim.by_wall else clock.wall_ms(lasting_ms)
                self._log(claim, user, in_place=True)
            elif claim.by_wall:
                claim.due_ms = clock.due_ms(claim.until_ms, now_ms)
            else:
                claim.until_ms = clock.wall_ms(claim.due_ms)
                self._log(claim, user, in_place=True)
        self._ends.changed(user)

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether there is a claim."""
        return bool(user.claims)

    def erase(self, user: User, now_ms: int) -> None:
        """The claims. O(1)."""
        user.claims, user.claim = (), None
        self._ends.arm(user)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The claims, the newest last. O(claims)."""
        return [_fact(user, claim) for claim in user.claims]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Claims."""
        return {ClaimSet: self._restore}

    def _restore(self, source: Restoring, fact: ClaimSet) -> None:
        user = source.user(fact.user)
        claims = user.claims
        if fact.status:
            name, status, until_ms = source.shared(fact.claim), fact.status, fact.until_ms
            # The end of a scheduled one is its schedule's business.
            due_ms = source.due_ms(until_ms) if until_ms and name != SCHEDULED else 0
            made = Claim(name, fact.source, status, fact.since_ms, until_ms, due_ms, True)  # type: ignore[arg-type]
            if fact.device:
                made.device = source.shared(fact.device)
            if fact.in_place and (replaced := _same_claim(claims, made)) is not None:
                claims = tuple(made if claim is replaced else claim for claim in claims)
            else:
                claims = added(claims, made)
        elif claims:
            # One that has come to its end leaves what it covered.
            ended_ms = fact.until_ms if fact.claim == MANUAL else 0
            claims = tuple(c for c in claims if c.name != fact.claim or (ended_ms and not 0 < c.until_ms <= ended_ms))
        user.claims = claims
        user.claim = strongest(claims)
        if user.shown is not None:
            self._texts.reveal(user)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Wait for the ends that are still to come, and end claims whose device is gone."""
        for user in users:
            # A fact was lost with the tail if it does not appear offline.
            self._texts.reveal(user)
            if user.claims and any(claim.device for claim in user.claims):
                self._end_with_devices(user, start.now_ms)
            if user.text_due_ms or user.shown or (user.claims and any(claim.due_ms for claim in user.claims)):
                self._ends.arm(user)


def _fact(user: User, claim: Claim, *, in_place: bool = False) -> ClaimSet:
    return ClaimSet(
        user.name, claim.status, claim.since_ms, claim.until_ms, claim.name, claim.source, in_place, claim.device
    )


def _same_claim(claims: tuple[Claim, ...], made: Claim) -> Claim | None:
    """The claim that was written down in place with another end, and perhaps another beginning: by a clock that was set
    back, what begins later than now is told as beginning now. Of several named manual the status tells which."""
    same = [claim for claim in claims if claim.name == made.name]
    if made.name == MANUAL:
        same = [claim for claim in same if claim.status == made.status]
    return next((claim for claim in same if claim.since_ms == made.since_ms), same[0] if same else None)
