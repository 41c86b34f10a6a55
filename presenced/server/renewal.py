"""A new token on a link that goes on (protocol.md, 13.38).

The core knows when the token of a link ends, and not what a token is. So this handler stands in the server, and is
joined to those of the core by who builds a server.
"""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import done
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.errors import AuthError, RequestError
from presenced.server.links import Authority
from presenced.wire.messages import Renew


def handlers(authority: Authority) -> dict[type, Handler]:
    """The table of the one message, whose tokens `authority` verifies."""

    def renew(engine: Engine, session: Session, now_ms: int, message: Renew) -> None:
        try:
            identity = authority.verify_token(message.token)
        except AuthError as error:
            # The old token is as good as before, so that it ends this request, and not the link.
            raise RequestError(error.code, error.message, retry_ms=error.retry_ms) from None
        if identity is not None:
            if identity.user != session.user_name:
                raise RequestError(
                    "forbidden", "the token is for another user than the link's; open a link for that one"
                )
            if identity.role != session.role:
                sentence = f"the token's role is {identity.role}, and the link's is {session.role}; open another link"
                raise RequestError("forbidden", sentence)
            engine.sessions.renew(now_ms, session, authority.deadline_of(now_ms, identity.expires_ms))
        done(engine, session, message.id)

    return {Renew: Handler(renew, costs.renewal)}
