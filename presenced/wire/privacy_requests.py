"""What clients send about who may see them: types 44 to 52 (protocol.md, section 21.6)."""

from __future__ import annotations

from presenced.wire.types import AudienceLevel, Message, RequestId


class Block(Message, tag=44):
    """Neither is to see the other."""

    id: RequestId
    contact: str
    user: str = ""


class Unblock(Message, tag=45):
    """The block is over, and what held before it holds again."""

    id: RequestId
    contact: str
    user: str = ""


class GetBlocked(Message, tag=46):
    """Ask whom the user has blocked, and from whom the user hides."""

    id: RequestId
    user: str = ""


class HideFrom(Message, tag=47):
    """The contact is not to see the user; the user sees the contact as before."""

    id: RequestId
    contact: str
    user: str = ""


class ShowAgain(Message, tag=48):
    """The user hides from the contact no longer."""

    id: RequestId
    contact: str
    user: str = ""


class ShowTo(Message, tag=49):
    """Show the device to the contact for as long as it lives, even while the user appears offline."""

    id: RequestId
    contact: str
    user: str = ""
    device: str = ""


class StopShowing(Message, tag=50):
    """The device is not shown to the contact any longer."""

    id: RequestId
    contact: str
    user: str = ""
    device: str = ""


class SetAudience(Message, tag=51):
    """Set to whom the user shows which field, all of it at once."""

    id: RequestId
    text: AudienceLevel = "everyone"
    """Of text and emoji."""
    last_seen: AudienceLevel = "everyone"
    """Of the times: since when, and last seen."""
    device: AudienceLevel = "everyone"
    """Of the primary device."""
    always: list[str] = []
    """Users who are shown all of these, whatever the levels."""
    never: list[str] = []
    """Users who are shown none of these."""
    user: str = ""


class GetAudience(Message, tag=52):
    """Ask to whom the user shows which field."""

    id: RequestId
    user: str = ""
