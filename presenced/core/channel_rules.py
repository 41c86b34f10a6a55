"""To whom the operator opens channels (protocol.md, section 17)."""

from __future__ import annotations

from presenced.core.model import Session
from presenced.core.policy import Policy


def may_join(policy: Policy, session: Session, channel: str) -> bool:
    """Whether the link may have a device join the channel. O(patterns)."""
    rights = session.rights
    if policy.channels_join == "anyone" or session.role != "user":
        return True
    return policy.channels_join == "token" and rights is not None and rights.may_join(channel)


def may_watch(policy: Policy, session: Session, channel: str) -> bool:
    """Whether the link may watch the channel, and list its members. O(patterns)."""
    rights = session.rights
    if policy.channels_watch == "anyone" or session.role != "user":
        return True
    return policy.channels_watch == "token" and rights is not None and rights.may_watch_channel(channel)
