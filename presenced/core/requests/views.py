"""Requests by which a client brings what it shows up to date, and proves that it is (protocol.md, section 22)."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import reply_records
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.targets import check_names
from presenced.errors import RequestError
from presenced.wire.messages import Check, Compare


def require_parallel(users: Sequence[str], have: Sequence[int]) -> None:
    """Raise `RequestError` (`bad_request`) unless there is one digest for each name."""
    if len(users) != len(have):
        raise RequestError("bad_request", f"{len(users)} users and {len(have)} digests; give one digest for each user")


def _compare(engine: Engine, session: Session, now_ms: int, message: Compare) -> None:
    require_parallel(message.users, message.have)
    check_names(engine, message.users)
    hidden = engine.sight.hidden_answers
    records = engine.views.compare(session, message.users, message.have, more=message.more, failed=message.failed)
    engine.curiosity.note(session, now_ms, engine.sight.hidden_answers - hidden)
    reply_records(engine, session, message.id, records)


def _check(engine: Engine, session: Session, now_ms: int, message: Check) -> None:
    engine.views.expect_check(session, message.id)
    # What is pushed of a change goes in front of the answers of its turn, and this answer must be about that, too.
    engine.obligations.put_off(session, lambda now_ms: engine.views.answer_check(session, message.id))


HANDLERS: dict[type, Handler] = {
    Compare: Handler(_compare, costs.comparison, FROM_RECORDS, has_long_answer=True),
    Check: Handler(_check, costs.checksum),
}
