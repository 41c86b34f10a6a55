"""What is typed, and what comes of it."""

from __future__ import annotations

from presenced.wire.messages import Command, CommandReply
from tests.core.world import FakeLink


def typed(link: FakeLink, text: str, user: str = "", device: str = "") -> CommandReply:
    """The answer to a command that is typed on this link, for this user and device."""
    return link.expect(Command(link.next_id(), text, user, device), CommandReply)
