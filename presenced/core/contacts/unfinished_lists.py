"""Lists of contacts that services set as a whole, in several requests: what has come of those that are not complete."""

from __future__ import annotations

from collections.abc import Iterable

from presenced.core.model import Session
from presenced.errors import RequestError
from presenced.limits import CONTACTS_MAX, UNFINISHED_CONTACTS_MAX
from presenced.wire.messages import ContactEntry

_Entries = dict[str, ContactEntry]


class UnfinishedLists:
    """Owns the entries that wait for others, by link and user."""

    def __init__(self) -> None:
        self._lists: dict[Session, dict[str, _Entries]] = {}
        """Of a list of which a part was refused nothing is kept, so that the parts behind it are refused as well."""

    def add(
        self, session: Session, user: str, entries: Iterable[ContactEntry], *, more: bool, continues: bool
    ) -> _Entries | None:
        """These entries of the user's list have come, the first of it unless it `continues`; of two of one contact the
        last counts. Returns the whole list, if there is not `more`.

        Raises `RequestError` (`contact_limit`, or `bad_request` if there is no list to go on with). O(entries).
        """
        if not continues:
            # Whoever sent the one before has given it up.
            self._end(session, user)
        lists = self._lists.get(session, {})
        before: _Entries | None = lists.get(user) if continues else {}
        if before is None:
            sentence = f"the parts of the list of {user} before this one did not come, or one was refused"
            raise RequestError("bad_request", f"{sentence}; send it again from its start")
        # A copy only of what is short: the list is not to change if this part is refused.
        new = {entry.contact: entry for entry in entries}
        if len(before) + sum(name not in before for name in new) > CONTACTS_MAX:
            raise RequestError("contact_limit", f"a user has at most {CONTACTS_MAX} contacts")
        if more and len(new) + sum(len(kept) for kept in lists.values()) > UNFINISHED_CONTACTS_MAX:
            raise RequestError(
                "contact_limit", f"a link has at most {UNFINISHED_CONTACTS_MAX} contacts in lists that are not complete"
            )
        before.update(new)
        if more:
            self._lists.setdefault(session, {})[user] = before
            return None
        self._end(session, user)
        return before

    def refuse(self, session: Session, user: str) -> None:
        """A part of the user's list was refused: forget what had come of it. O(1)."""
        self._end(session, user)

    def end_session(self, session: Session) -> None:
        """The session has ended, and completes nothing any longer. Idempotent. O(1)."""
        self._lists.pop(session, None)

    def _end(self, session: Session, user: str) -> None:
        lists = self._lists.get(session)
        if lists is not None:
            lists.pop(user, None)
            if not lists:
                del self._lists[session]
