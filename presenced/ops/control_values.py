"""What is said over the admin socket: one type for each request, which checks itself, and one for each answer.

A request is one JSON object in a line; `do` names it. An answer is `Answer` or `Refusal` in a line.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from presenced.wire.messages import Role

LINE_BYTES_MAX = 65_536
"""Of a request. An answer is as long as it is."""

LINKS_MAX = 1_000
"""Links in one answer."""

RETRY_MS = 5_000
RETRY_MS_MAX = 24 * 3600 * 1000

LogLevel = Literal["debug", "info", "warning", "error"]
"""As in the settings, which commands that only look need not load."""

Sort = Literal["since", "held", "watching"]
LinkRole = Literal["user", "service", "admin", "none"]
"""`none`: no hello so far."""


# --- requests -----------------------------------------------------------------------------------------------------


class Request(msgspec.Struct, tag_field="do", tag=str.lower, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Anything that may be asked."""


class Status(Request, frozen=True):
    """The server at this moment; answered with a `status.Status`."""


class Doctor(Request, frozen=True):
    """What is wrong, and what to do; answered with a list of `doctor.Finding`."""


class Links(Request, frozen=True):
    """The links that fit every filter given; answered with a `LinkList`."""

    user: str = ""
    """`user` or `user/device`: their own links, and those of services that hold devices of theirs."""
    role: LinkRole | None = None
    slow: bool = False
    """Only those that do not take what they are sent."""
    sort: Sort = "since"
    """`since`: the newest first; else the largest first."""
    limit: Annotated[int, msgspec.Meta(ge=0, le=LINKS_MAX)] = 100


class Kick(Request, frozen=True):
    """Close the links of a user (or of `user/device`), or of a role, or both; answered with `Kicked`."""

    user: str = ""
    role: LinkRole | None = None
    message: Annotated[str, msgspec.Meta(max_length=200)] = ""
    retry_ms: Annotated[int, msgspec.Meta(ge=0, le=RETRY_MS_MAX)] = RETRY_MS
    """They are told to stay away for this to twice as long, each for another time."""


class Drain(Request, frozen=True):
    """Stop the daemon as SIGTERM does; answered with `Drained` while it goes on stopping."""


class Snapshot(Request, frozen=True):
    """Begin a snapshot; answered with `Snapshotted`, with `wait` when it is finished."""

    wait: bool = False


class Reload(Request, frozen=True):
    """Read the configuration anew, as SIGHUP does; answered with a `ReloadReport`."""


class Loglevel(Request, frozen=True):
    """The level of the log, set first if one is given; answered with `Level`."""

    level: LogLevel | None = None


class History(Request, frozen=True):
    """Samples of the last minutes, for plots."""


AnyRequest = Status | Doctor | Links | Kick | Drain | Snapshot | Reload | Loglevel | History
VERBS = tuple(kind.__name__.lower() for kind in get_args(AnyRequest))


# --- answers ------------------------------------------------------------------------------------------------------


class Answer(msgspec.Struct, frozen=True):
    """It was done, and this came of it."""

    result: object
    ok: Literal[True] = True


class Refusal(msgspec.Struct, frozen=True):
    """It was not done; `code` for programs, the sentence for people."""

    code: str
    message: str
    ok: Literal[False] = False


class LinkInfo(msgspec.Struct, frozen=True):
    """One connection."""

    user: str
    """Empty before the hello."""
    device: str
    role: LinkRole
    peer: str
    age_ms: int
    silent_ms: int
    """Since it was heard of last; -1 before the hello."""
    watching: int
    holds: int
    """Devices that a service speaks for."""
    held: int
    """Users whose latest record it is owed, because it does not read."""
    slow: bool


class LinkList(msgspec.Struct, frozen=True):
    """`matching` of `total` links fit; `links` are the first of those. Encoded ones, because there may be many."""

    total: int
    matching: int
    links: list[msgspec.Raw]


class Kicked(msgspec.Struct, frozen=True):
    """How many links were closed, and which services hold devices of the user: they were left alone."""

    links: int
    held_by: list[str]


class Drained(msgspec.Struct, frozen=True):
    """The daemon is stopping: it closes its links over at most `spread_ms`, and is gone by `timeout_ms`."""

    links: int
    spread_ms: int
    timeout_ms: int


class Snapshotted(msgspec.Struct, frozen=True):
    """`begun` is False if one was under way already. The figures are those of a finished one, else 0."""

    begun: bool
    finished: bool
    bytes: int
    took_ms: int


class Level(msgspec.Struct, frozen=True):
    """How much is logged."""

    level: str


assert set(get_args(LinkRole)) == {*get_args(Role), "none"}
