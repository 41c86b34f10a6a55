"""What is kept of each await, and of each user who is awaited. Data only; the rules are in `parts.awaits`.

Sessions and users are handed in as types: their own file refers to these.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from presenced.core.wheel import Timer

S = TypeVar("S")
U = TypeVar("U")


class PendingAwait(Timer, Generic[S, U]):
    """A link waits for a user to show a status. In the wheel until the first moment at which time alone decides."""

    __slots__ = (
        "number", "session", "id", "user", "statuses", "kinds", "least_ms", "until_ms",
        "face", "held_from_ms", "looked", "is_over",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        session: S,
        request_id: int,
        user: U,
        statuses: int,
        kinds: tuple[str, ...],
        least_ms: int,
        until_ms: int,
    ) -> None:
        super().__init__()
        # as it was asked
        self.number = number
        """How many were asked before it."""
        self.session = session
        self.id = request_id
        self.user = user
        self.statuses = statuses
        """A bit for each status that will do."""
        self.kinds = kinds
        self.least_ms = least_ms
        """For how long it must have held."""
        self.until_ms = until_ms
        # where it stands
        self.face = 0
        """By which face its link saw the user when it was looked at last."""
        self.held_from_ms: int | None = None
        """From when on it has held by what the link is shown; None = it does not. It may lie before the start of the
        clock."""
        self.looked = 0
        """How often what it depends on had changed when it was looked at last (`AwaitedUser`)."""
        self.is_over = False
        """It was answered, or its link has ended."""


class AwaitedUser(Generic[S, U]):
    """All awaits about one user."""

    __slots__ = ("all_changes", "awaits", "counted_kinds", "of_kinds", "record_changes", "shown_changes", "states")

    def __init__(self) -> None:
        self.awaits: dict[PendingAwait[S, U], None] = {}
        """The oldest first."""
        self.of_kinds = 0
        """How many of them ask for kinds of devices."""
        self.states = ("", "")
        """The status of the record, and of the face SHOWN, when they were looked at last."""
        self.counted_kinds: frozenset[str] = frozenset()
        """Of devices that counted then, if any await asks for kinds."""
        # since the first await
        self.record_changes = 0
        """How often the first of these has changed."""
        self.shown_changes = 0
        """How often the second has."""
        self.all_changes = 0
        """How often any of these has."""
