"""The messages of the admin socket: one type for each request, which checks itself, and one for each answer.

A request is one JSON object on a line, and `do` names it. The answer is an `AdminAnswer` or an `AdminRefusal` on a
line.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from presenced.wire.messages import Role

LINE_BYTES_MAX = 65_536
"""The longest request. Answers have no bound."""

LINKS_MAX = 1_000
"""The most links in one answer."""

RETRY_MS = 5_000
RETRY_MS_MAX = 24 * 3600 * 1000

AdminLogLevel = Literal["debug", "info", "warning", "error"]
"""The same as in the settings, which a command need not load for this."""

LinkOrder = Literal["since", "held", "watching"]
LinkRole = Literal["user", "service", "admin", "none"]
"""`none`: no hello yet."""


# --- requests -----------------------------------------------------------------------------------------------------


def _verb(name: str) -> str:
    """`AdminStatus` is asked for as `status`."""
    return name.removeprefix("Admin").lower()


class AdminRequest(msgspec.Struct, tag_field="do", tag=_verb, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all requests."""


class AdminStatus(AdminRequest, frozen=True):
    """The server at this moment; answered with a `ServerStatus`."""


class AdminDoctor(AdminRequest, frozen=True):
    """What is wrong, and what to do; answered with a list of `doctor.Finding`."""


class AdminLinks(AdminRequest, frozen=True):
    """The links of all nodes that fit every filter given; answered with a `LinkList`."""

    user: str = ""
    """`user` or `user/device`: the user's own links, and those of services that hold devices of the user."""
    role: LinkRole | None = None
    slow: bool = False
    """Only links that do not take what they are sent."""
    sort: LinkOrder = "since"
    """`since`: the newest link first; else the largest figure first."""
    limit: Annotated[int, msgspec.Meta(ge=0, le=LINKS_MAX)] = 100
    node: str = ""
    """Only links of the node of this name."""


class AdminKick(AdminRequest, frozen=True):
    """Close the links of a user (or of `user/device`), or of a role, or both, on all nodes; answered with `Kicked`."""

    user: str = ""
    role: LinkRole | None = None
    message: Annotated[str, msgspec.Meta(max_length=200)] = ""
    retry_ms: Annotated[int, msgspec.Meta(ge=0, le=RETRY_MS_MAX)] = RETRY_MS
    """The links are told to stay away for this long to twice as long, each for a time of its own."""
    gone: bool = False
    """The devices of the user are gone at once, without grace, those that services hold, too. Of a user alone: with
    neither a device nor a role."""


class AdminDrain(AdminRequest, frozen=True):
    """Stop the daemon as SIGTERM does, or another node; answered with `Drained` while the stop goes on."""

    node: str = ""
    """The name of the node; empty = the one that is asked."""


class AdminSnapshot(AdminRequest, frozen=True):
    """Begin a snapshot; answered with `Snapshotted`, at once or, with `wait`, when it is finished."""

    wait: bool = False


class AdminReload(AdminRequest, frozen=True):
    """Read the configuration again, as SIGHUP does; answered with a `ReloadReport`."""


class AdminLoglevel(AdminRequest, frozen=True):
    """The level of the log, set first if one is given; answered with `Level`."""

    level: AdminLogLevel | None = None


class AdminHistory(AdminRequest, frozen=True):
    """Samples of the last minutes, for plots; answered with the series of `history.History`."""


class AdminCluster(AdminRequest, frozen=True):
    """How this node stands in its cluster, also while it joins; answered with a `ClusterStatus`."""


class AdminWebhooks(AdminRequest, frozen=True):
    """The delivery of events; answered with a `WebhookStatus`, or with what came of a test event."""

    test: bool = False
    """Post a test event, and wait for the answer of the receiver."""


AnyRequest = (
    AdminStatus
    | AdminDoctor
    | AdminLinks
    | AdminKick
    | AdminDrain
    | AdminSnapshot
    | AdminReload
    | AdminLoglevel
    | AdminHistory
    | AdminWebhooks
    | AdminCluster
)
VERBS = tuple(_verb(kind.__name__) for kind in get_args(AnyRequest))


# --- answers ------------------------------------------------------------------------------------------------------


class AdminAnswer(msgspec.Struct, frozen=True):
    """The request was carried out; `result` is what came of it."""

    result: object
    ok: Literal[True] = True


class AdminRefusal(msgspec.Struct, frozen=True):
    """The request was not carried out: `code` is for programs, the sentence for people."""

    code: str
    message: str
    ok: Literal[False] = False


class LinkList(msgspec.Struct, frozen=True, omit_defaults=True):
    """`matching` of `total` links fit, and `links` are the first of them: each a `link_report.LinkInfo`, encoded
    already, because there may be many."""

    total: int
    matching: int
    links: list[msgspec.Raw]
    silent: list[str] = []
    """Nodes that have not told of theirs in time, which are not counted."""


class Kicked(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many links were closed, and which services hold devices of the user: their links were left alone."""

    links: int
    held_by: list[str]
    elsewhere: int = 0
    """Of the links, those of other nodes of the cluster."""
    silent_nodes: int = 0
    """Nodes that have not answered in time; whether they have closed links is not known."""


class Drained(msgspec.Struct, frozen=True, omit_defaults=True):
    """The daemon stops: it closes its links over at most `spread_ms`, and has ended after `timeout_ms`."""

    links: int
    spread_ms: int
    timeout_ms: int
    node: str = ""
    """The node that does, if it is not the one that was asked."""
    incarnation: int = 0
    """Its life that ends, as in `ClusterStatus`."""


class Snapshotted(msgspec.Struct, frozen=True):
    """`begun` is False if a snapshot was under way already. The figures are those of the finished snapshot, else 0."""

    begun: bool
    finished: bool
    bytes: int
    took_ms: int


class Level(msgspec.Struct, frozen=True):
    """The level of the log."""

    level: str


assert set(get_args(LinkRole)) == {*get_args(Role), "none"}
