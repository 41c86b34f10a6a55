"""The messages between two nodes about links: one node serves the link, the other decides a user for whom it acts.

Each message is an array led by its type number. Fields are only added at the end; with a new message, or a new word in
one, `levels.LEVEL` is raised. Three fields stand in many messages:

* `link`: the number that the node which serves the link has given it.
* `number`: counts the requests of one link, so that each has one answer; 0 = there is no answer.
* `round`: counts how often requests came back. A home that has refused one request of a round refuses all that follow
  in it, so that they are sent again in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, dataclass_transform

import msgspec

from presenced.cluster.levels import decoder_of
from presenced.core.rights import Rights
from presenced.wire.messages import Role, TakenWhy


@dataclass_transform(frozen_default=True)
class NodeMessageBase(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An array led by its type number."""


# --- from the node that serves the link -----------------------------------------------------------------------


class LinkHello(NodeMessageBase, tag=1):
    """A link acts for a user whom the receiver decides. It may be open there already, and have a device only now."""

    link: int
    round: int
    number: int
    user: str
    role: Role
    instance: int
    issued_ms: int
    rights: Rights | None
    hello: bytes = b""
    """The link's hello, without its token, if its own device is to be attached here; empty = it is not."""
    position: int = 0
    """How far the sender had read when the link said hello."""
    yields: bool = False
    """The device was attached nowhere yet: if no device of its user is connected, the receiver is to hand the user
    over."""
    is_again: bool = False
    """The device was attached by this link before, at a home that is gone."""
    came_ms: int = 0
    """Wall time at which the link came, if its own device is to be attached; 0 = not known."""
    said_ms: int = 0
    """As in `LinkLost`, if it says how idle the link's person is."""


class LinkFrame(NodeMessageBase, tag=2):
    """A message of the link, its id replaced by `number`."""

    link: int
    round: int
    number: int
    payload: bytes
    said_ms: int = 0
    """As in `LinkLost`, if it says what was heard of devices."""


class LinkLost(NodeMessageBase, tag=3):
    """The link is gone: its devices are in grace."""

    link: int
    age_ms: int
    """How long ago its last frame came."""
    said_ms: int = 0
    """Wall time at which the sender made the message, which may wait long for the engine; 0 = not known."""


class LinkBeats(NodeMessageBase, tag=4):
    """Links were heard: for each the link, how many ms ago, and for how many ms its person had been idle then (-1 = not
    told)."""

    beats: list[int]
    said_ms: int = 0
    """As in `LinkLost`."""


class LinkRenewed(NodeMessageBase, tag=5):
    """The link has another token."""

    link: int
    issued_ms: int
    rights: Rights | None


class HeldAgain(NodeMessageBase, tag=6):
    """The link held these devices at a home that is gone, or an earlier link of its client did: ref, user and device of
    each."""

    link: int
    position: int
    """As in `LinkHello`."""
    devices: list[tuple[int, str, str]]
    if_gone: dict[int, TakenWhy] = {}
    """Why the link has lost a ref whose device is gone, where that is not `lost`."""


class LinkWanted(NodeMessageBase, tag=7):
    """A client has come to the sender with the token of a lost link that the receiver has issued. The answer is
    `LinkGiven` or `LinkNotGiven`."""

    number: int
    """Of the sender's question."""
    token: str
    user: str
    role: Role
    instance: int
    rights: Rights | None
    device: str
    """The client's own device; empty = it has none."""
    watch_users_max: int


# --- from the home --------------------------------------------------------------------------------------------


class LinkOpened(NodeMessageBase, tag=16):
    """The answer to `LinkHello`: its device is attached, if it has one."""

    link: int
    number: int


class ToLink(NodeMessageBase, tag=17):
    """Frames for the link: answers with the numbers of what they answer, and pushes."""

    link: int
    frames: bytes


class Returned(NodeMessageBase, tag=18):
    """The sender does not decide what the receiver's request is about. It has applied nothing of the request."""

    link: int
    number: int
    is_unknown: bool = False
    """The link is not open at the sender."""


class EndLink(NodeMessageBase, tag=19):
    """The link is to be ended with this code; its sender keeps nothing of it."""

    link: int
    code: str


# --- from the node that has given a token ---------------------------------------------------------------------


class LinkGiven(NodeMessageBase, tag=20):
    """A part of what the lost link had. Neither that link nor the sender has any of it any longer."""

    number: int
    names: list[str]
    """Users whom it watched by name."""
    channels: list[str]
    devices: list[tuple[int, str, str, TakenWhy]]
    """Ref, user, device, and the reason that the client is told if the device is gone."""
    taken: list[tuple[int, TakenWhy]]
    """Refs whose devices were lost with the link."""
    is_last: bool
    # with the last part
    watched: int = 0
    issued_ms: int = 0
    good_ms: int = 0
    watches_contacts: bool = False
    follows_contacts: bool = False
    watches_all: bool = False


class LinkNotGiven(NodeMessageBase, tag=21):
    """There is nothing for the client that has come with this token."""

    number: int


# --- from whoever decides a user, to all ----------------------------------------------------------------------


class LinksKicked(NodeMessageBase, tag=32):
    """The user was kicked."""

    user: str


# --- from an operator of one node, to others ------------------------------------------------------------------


class CloseLinks(NodeMessageBase, tag=33):
    """An operator wants the receiver to close links of its own. It is answered with `LinksClosed`."""

    number: int
    """Of this question."""
    user: str
    """`user` or `user/device`; empty = of anybody."""
    role: str
    """Empty = of any."""
    message: str
    retry_ms: int
    is_gone: bool
    """Whoever decides the user lets all devices of the user be gone as well."""


class LinksClosed(NodeMessageBase, tag=34):
    """What came of a `CloseLinks`."""

    number: int
    links: int
    held_by: list[str]
    """Services that hold devices of the user, as their home knows."""


class ListLinks(NodeMessageBase, tag=35):
    """An operator wants to see links of the receiver. It is answered with `LinksListed`."""

    number: int
    user: str
    """As in `CloseLinks`, and so is `role`."""
    role: str
    is_slow: bool
    """Only links that do not take what they are sent."""
    order: str
    """By what the first are chosen."""
    limit: int
    """The most links."""


class LinksListed(NodeMessageBase, tag=36):
    """Links of the sender, the first of those that fit; more of them follow unless this is the last."""

    number: int
    total: int
    matching: int
    links: list[msgspec.Raw]
    """Each as whoever shows it to the operator has it."""
    is_last: bool


class StopNode(NodeMessageBase, tag=37):
    """An operator wants the receiver to stop in order. It is answered with `NodeStops`."""

    number: int


class NodeStops(NodeMessageBase, tag=38):
    """The sender stops: it closes so many links, over at most `spread_ms`, and has ended after `timeout_ms`."""

    number: int
    links: int
    spread_ms: int
    timeout_ms: int


OperatorQuestion = CloseLinks | ListLinks | StopNode
OperatorAnswer = LinksClosed | LinksListed | NodeStops
OPERATOR_QUESTIONS: Final = (CloseLinks, ListLinks, StopNode)
OPERATOR_ANSWERS: Final = (LinksClosed, LinksListed, NodeStops)

NodeMessage = (
    LinkHello
    | LinkFrame
    | LinkLost
    | LinkBeats
    | LinkRenewed
    | HeldAgain
    | LinkWanted
    | LinkOpened
    | ToLink
    | Returned
    | EndLink
    | LinkGiven
    | LinkNotGiven
    | LinksKicked
    | CloseLinks
    | LinksClosed
    | ListLinks
    | LinksListed
    | StopNode
    | NodeStops
)

decode_node_message: Callable[[bytes | msgspec.Raw], NodeMessage] = decoder_of(NodeMessage)
"""A message from its bytes. Raises what is said at `decoder_of` on anything else."""
