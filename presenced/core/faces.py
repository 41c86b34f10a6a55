"""Who may see whom, and how much: `face` decides for one viewer and one subject. Pure (protocol.md, section 21.1).

A face is a number: FULL, HIDDEN, SHOWN, or the sum of what a reduced record leaves out. Whatever a viewer is told of a
subject is made of the record of that face, so that no answer has a rule of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from presenced.core.model import User, unknown_record
from presenced.core.privacy import EVERYTHING
from presenced.core.rights import Rights, part_of
from presenced.core.roster import FROM, TO
from presenced.wire.messages import AudienceLevel, Record

FULL: Final = 0
"""The whole record."""

WITHOUT_TEXT: Final = 1
WITHOUT_TIMES: Final = 2
WITHOUT_DEVICE: Final = 4
WITHOUT_ANY: Final = WITHOUT_TEXT | WITHOUT_TIMES | WITHOUT_DEVICE
"""The reduced faces: sums of these, of what is left out."""

SHOWN: Final = 8
"""What the record would be if the subject did not appear offline: a device has shown itself to the viewer."""

HIDDEN: Final = -1
"""What is told of a name that was never seen."""


class Grounds(NamedTuple):
    """Why a viewer may see a subject at all, on this server."""

    everyone: bool = True
    contacts: bool = False
    channels: bool = False
    domain: bool = False
    reciprocal: bool = False
    """Who withholds their times does not see those of others."""


def face(viewer: User, subject: User, grounds: Grounds, rights: Rights | None) -> int:
    """How the subject is shown to a link of this user, whose token has these rights.

    O(1); with the ground `channels` O(channels of one of the two).
    """
    if viewer is subject:
        return FULL
    theirs = subject.privacy
    hides = False
    if (mine := viewer.privacy) is not None:
        if subject.name in mine.blocked or (theirs is not None and viewer.name in theirs.blocked):
            return HIDDEN
        # The viewer's own list of those who do not want to be seen: a look into one dict for the blocked and the rest.
        hides = subject.name in mine.unseen
    if theirs is not None and viewer.name in theirs.shown_to:
        return SHOWN
    if hides or not has_ground(viewer, subject, grounds, rights):
        return HIDDEN
    kept = _withheld(subject, viewer) if theirs is not None and theirs.audience is not EVERYTHING else FULL
    if grounds.reciprocal and mine is not None and _withheld(viewer, subject) & WITHOUT_TIMES:
        kept |= WITHOUT_TIMES
    return kept


def has_ground(viewer: User, subject: User, grounds: Grounds, rights: Rights | None) -> bool:
    """Whether there is a reason for which the viewer may see the subject. As `face`, O(1)."""
    if grounds.everyone:
        return True
    if grounds.contacts and viewer.contacts is not None and viewer.contacts.flags(subject.name) & TO:
        return True
    # Membership needs a live device, which is nobody's business of a subject who appears offline.
    if grounds.channels and subject.record.status != "offline" and _share_channel(viewer, subject):
        return True
    if grounds.domain and (part := part_of(viewer.name)) and part == part_of(subject.name):
        return True
    return rights is not None and rights.sees(subject.name)


def _share_channel(viewer: User, subject: User) -> bool:
    mine, theirs = viewer.channels, subject.channels
    return mine is not None and theirs is not None and not mine.keys().isdisjoint(theirs)


def _withheld(subject: User, viewer: User) -> int:
    """What the subject's audience keeps from the viewer."""
    if subject.privacy is None:
        return FULL
    audience = subject.privacy.audience
    if viewer.name in audience.never:
        return WITHOUT_ANY
    if viewer.name in audience.always:
        return FULL
    is_contact = subject.contacts is not None and bool(subject.contacts.flags(viewer.name) & FROM)
    return (
        WITHOUT_TEXT * _keeps(audience.text, is_contact=is_contact)
        | WITHOUT_TIMES * _keeps(audience.last_seen, is_contact=is_contact)
        | WITHOUT_DEVICE * _keeps(audience.device, is_contact=is_contact)
    )


def _keeps(level: AudienceLevel, *, is_contact: bool) -> bool:
    return level == "nobody" or (level == "contacts" and not is_contact)


def reduced(record: Record, left_out: int, version: int) -> Record:
    """The record without what is left out, told as of this version. Of a user who was never seen nothing changes."""
    if not record.version:
        return record
    # 0 says that nothing is known, and the counter begins with it.
    version = version or 1
    text, emoji = ("", "") if left_out & WITHOUT_TEXT else (record.text, record.emoji)
    since_ms, last_seen_ms = (0, 0) if left_out & WITHOUT_TIMES else (record.since_ms, record.last_seen_ms)
    device = "" if left_out & WITHOUT_DEVICE else record.device
    return Record(record.user, record.status, text, emoji, since_ms, last_seen_ms, device, version)


def is_same(one: Record, other: Record) -> bool:
    """Whether two records say the same of a user; the version says nothing of them."""
    return one == other or replace(one, version=other.version) == other


def hidden_record(subject: User) -> Record:
    """What is told of the subject to who may not see them: the bytes of a name never seen."""
    return unknown_record(subject.name)
