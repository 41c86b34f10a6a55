"""A new token on a link that goes on (protocol.md, 13.38).

The core knows when the token of a link ends, but cannot verify one. So this handler is in the server, and `Server`
joins its table with those of the core and of the chat commands.
"""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import done
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.errors import CODES, AuthError, RequestError
from presenced.server.links import Authority
from presenced.wire.messages import Renew


def handlers(authority: Authority) -> dict[type, Handler]:
    """The table of the one message, whose tokens `authority` verifies."""

    def renew(engine: Engine, session: Session, now_ms: int, message: Renew) -> None:
        try:
            identity = authority.verify_token(message.token)
        except AuthError as error:
            # The link's own token is as good as before: the request is refused, and the link goes on.
            raise RequestError(error.code, error.message, retry_ms=error.retry_ms) from None
        if identity is not None:
            if identity.user != session.user_name:
                raise RequestError(
                    "forbidden", "the token is for another user than the link's; open a link for that one"
                )
            if identity.role != session.role:
                sentence = f"the token's role is {identity.role}, and the link's is {session.role}; open another link"
                raise RequestError("forbidden", sentence)
            if engine.revocations.refuses(identity.user, identity.issued_ms):
                raise RequestError("token_revoked", CODES["token_revoked"].meaning)
            expires_ms = authority.deadline_of(now_ms, identity.expires_ms)
            engine.sessions.renew(now_ms, session, expires_ms, identity.rights, identity.issued_ms)
        done(engine, session, message.id)

    return {Renew: Handler(renew, costs.renewal)}
