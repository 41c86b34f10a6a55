"""Requests about why users are shown as they are (protocol.md, section 23)."""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.explanations import explanation, nothing_known
from presenced.core.model import Session, unknown_record
from presenced.core.projection import Readings
from presenced.core.replies import reply
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.targets import name_of, require_seeing
from presenced.wire.messages import Explain


def _explain(engine: Engine, session: Session, now_ms: int, message: Explain) -> None:
    name = name_of(engine, session, message.user)
    require_seeing(session, name)
    user = engine.users.get(name)
    if user is None:
        told = nothing_known(message.id, unknown_record(name), engine.clock.wall_ms(now_ms))
    else:
        forecast = engine.forecasts.of(user, now_ms, Readings())
        record = engine.publisher.record_of(user)
        told = explanation(message.id, user, record, forecast, engine.clock, now_ms)
    reply(engine, session, told)


HANDLERS: dict[type, Handler] = {
    Explain: Handler(_explain, costs.explanation, FROM_RECORDS, has_long_answer=True),
}
