"""What must hold of the links, beside `core.invariants`: tables, counts, credit, who is read and who waits."""

from __future__ import annotations

from collections import Counter

from presenced.server.conversation import Conversation
from presenced.server.intake import BACKLOG, RATE, READ
from presenced.server.link import CLOSED, CLOSING, ENDING, OPEN
from tests.sim.daemon import Daemon


def check(daemon: Daemon) -> None:
    """Raise `AssertionError` with what is wrong. Between two calls of the loop. O(links)."""
    links = daemon.links
    roles: Counter[str] = Counter()
    in_account: Counter[int] = Counter()
    closing = 0
    sessions = {}
    for link in links:
        assert isinstance(link, Conversation) and link.state != CLOSED, "a link that is closed is in the table"
        closing += link.state == CLOSING
        account = link.intake.account
        if account is not links.accounts.strangers:
            in_account[id(account)] += 1
        session = link.session
        if session is not None:
            assert link.state == OPEN, f"a link in state {link.state} has a session"
            assert session.edge is link, "a session has another link"
            assert not session.ended, "a link goes on with a session that has ended"
            roles[session.role] += 1
            sessions[session] = link
        elif link.state == OPEN:
            raise AssertionError("an open link has no session")
        if link.farewell is not None and link.farewell.session is not None:
            assert link.state == ENDING, f"a link in state {link.state} still owes answers"
        if link.state < ENDING and link.intake.paused == BACKLOG:
            assert link in links.shares.backlog, "a link waits for its turn and is in no line"
        if link.state < ENDING and link.intake.paused == RATE:
            assert link in account.line, "a link waits for credit and is in no line"
            assert account in links.shares.over, "an account has a line and is not looked at"
        if link.intake.paused == READ and link.state == OPEN:
            assert not link.intake.reader.has_frame, "a whole frame lies unhandled, and nothing waits for it"
        assert 0 <= account.links and account.credit <= account.burst, "an account has too much"
    assert +links.roles == roles, f"links are counted as {dict(links.roles)}, and are {dict(roles)}"
    assert links.ending == closing, f"{closing} links that close are counted as {links.ending}"
    for account in links.accounts.by_user.values():
        there = in_account.pop(id(account), 0)
        assert account.links == there, f"{there} links of {account.user} are counted as {account.links}"
        assert account.links or account.is_kept, f"the account of {account.user} is kept for nothing"
    assert not in_account, "a link takes credit from an account that is not in the table"
    for device in (device for user in daemon.engine.users.values() for device in user.devices.values()):
        if device.session is not None:
            assert device.session in sessions, f"{device.user.name}/{device.id} is held by a link that is not open"
