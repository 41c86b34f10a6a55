"""The start of a link: read the hello, decide who it is, open a session, and say welcome.

All that is wrong with a hello ends the link: it is raised as the error that the goodbye will tell.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple

from presenced import limits
from presenced.address import check_focus, check_label, check_meta, check_name
from presenced.core.engine import Engine
from presenced.core.link_client import ArrivedClient
from presenced.core.model import Edge, Session
from presenced.core.replies import reply
from presenced.core.requests.costs import NAMES
from presenced.errors import CODES, AddressError, AuthError, ConnectionLost, ProtocolError, RequestError
from presenced.server.identity import Identity
from presenced.server.links import Elsewhere, Links
from presenced.server.memory import REFUSAL, Memory, retry_ms
from presenced.wire.codec import BadMessage, decode_client
from presenced.wire.messages import PROTOCOL_VERSIONS, ContactRecords, Hello, Welcome


class Greeting(NamedTuple):
    """A hello that was accepted, and who says it."""

    hello: Hello
    version: int
    """The protocol version to speak."""
    identity: Identity
    sought: int = 0
    """Where another node was asked for what its client's lost link had: by which number that is taken."""


def read_greeting(links: Links, payload: bytes) -> Greeting:
    """The first frame of a link: who is it? Raises what the goodbye will say."""
    hello, version = read_hello(payload)
    identity = links.authority.identify(hello)
    if not hello.device and identity.role == "user":
        # A link inside of this process may be without: it asks for its user, who is not there by that.
        raise ProtocolError("bad_hello", "a user's hello must name a device, such as laptop")
    _refuse_while_short(links.memory)
    return Greeting(hello, version, identity)


def read_hello(payload: bytes) -> tuple[Hello, int]:
    """The first frame's hello, and the protocol version to speak. Raises `ProtocolError`."""
    try:
        hello = decode_client(payload)
    except BadMessage as error:
        code = "bad_frame" if error.code == "bad_frame" else "hello_required"
        if str(error).startswith("Hello:"):
            code = "bad_hello"
        raise ProtocolError(code, str(error)) from None
    if not isinstance(hello, Hello):
        raise ProtocolError("hello_required", f"{type(hello).__name__} came before hello; say hello first")
    version = max((version for version in hello.versions if version in PROTOCOL_VERSIONS), default=None)
    if version is None:
        raise ProtocolError("bad_version", f"this server speaks protocol versions {list(PROTOCOL_VERSIONS)}")
    return hello, version


def _refuse_while_short(memory: Memory) -> None:
    """Raise the goodbye to a link that was admitted before memory ran short, and would need more of it now."""
    if memory.level:
        memory.refused_hellos += 1
        raise ProtocolError("busy", REFUSAL, retry_ms=retry_ms())


def open_session(
    engine: Engine,
    edge: Edge,
    hello: Hello,
    identity: Identity,
    expires_ms: int,
    now_ms: int,
    elsewhere: Elsewhere | None = None,
) -> Session:
    """The session of a link whose hello this is, with its device attached, if it has one. It is about to take back what
    its client's lost link had if it has something `parked`. `elsewhere` attaches the device if this server does not
    decide its user; the session has none then so far.

    Raises `ProtocolError`, `AuthError` (`token_revoked`), `RequestError` (`device_limit`) or `ConnectionLost`
    (`replaced`: another client has the device by now, and the hello does not want to take it), before anything is
    changed.
    """
    _check(hello, identity)
    # In dev mode there is no token, and nothing to refuse.
    if identity.expires_ms and engine.revocations.refuses(identity.user, identity.issued_ms):
        raise AuthError("token_revoked", CODES["token_revoked"].meaning)
    rights, issued_ms = identity.rights, identity.issued_ms
    sessions = engine.sessions
    token, own_token = hello.resume, ""
    if token is not None:
        own_token = draw_token() if elsewhere is None else elsewhere.draw_token()
    session = Session(edge, identity.user, identity.role, hello.instance, expires_ms, rights, issued_ms, own_token)
    before = sessions.open_with(token, session, hello.device) if token else None
    if not hello.device:
        sessions.open_without_device(now_ms, session)
    elif elsewhere is None or elsewhere.attaches_here(identity.user):
        _attach(engine, session, hello, now_ms)
    else:
        sessions.open_without_device(now_ms, session)
        elsewhere.open(session, hello, now_ms)
    if token:
        sessions.take_back(now_ms, session, hello.device, token, before)
    return session


def seek_lost(elsewhere: Elsewhere, greeting: Greeting, now_ms: int, then: Callable[[int], object]) -> int:
    """Ask another node for what the lost link of the hello's client had, if it has it; see `Elsewhere.seek`."""
    hello, identity = greeting.hello, greeting.identity
    client = ArrivedClient(identity.user, identity.role, hello.instance, identity.rights)
    return elsewhere.seek(hello.resume or "", client, hello.device, now_ms, then)


def draw_token() -> str:
    """128 random bits: nobody comes upon the token of another link."""
    return secrets.token_urlsafe(16)


def _attach(engine: Engine, session: Session, hello: Hello, now_ms: int) -> None:
    """Attach the link's own device. Raises as `open_session` does."""
    try:
        engine.sessions.take_device(
            now_ms, session, hello, idle_ms=hello.idle_ms, as_was=hello.as_was, only_free=hello.only_free
        )
    except RequestError as error:
        if error.code != "device_held":
            raise
        # It learns now what it would have been told then, had its link been there.
        raise ConnectionLost("replaced", error.message, temporary=False) from None


def welcome(
    engine: Engine, session: Session, hello: Hello, version: int, now_ms: int, pace: tuple[int, int]
) -> Welcome:
    """What the link is told of the server and of what holds for it; `pace` is units of work in a second and a burst."""
    policy = engine.policy
    device = session.device
    kind = device.kind if device is not None else _kind_elsewhere(engine, session, hello)
    away_after_ms, offline_after_ms = policy.idle_limits(kind)
    grace_ms = policy.grace_of(kind)
    return Welcome(
        version=version,
        user=session.user_name,
        device=hello.device,
        role=session.role,
        heartbeat_ms=policy.heartbeat_ms,
        timeout_ms=policy.timeout_ms,
        grace_ms=grace_ms,
        away_after_ms=away_after_ms,
        offline_after_ms=offline_after_ms,
        frame_bytes_max=limits.FRAME_BYTES_MAX,
        users_per_request_max=limits.USERS_PER_REQUEST_MAX,
        watch_users_max=policy.watch_limit(session.role),
        server_time_ms=engine.clock.wall_ms(now_ms),
        epoch=engine.ledger.epoch,
        rate_units_per_s=pace[0],
        rate_burst_units=pace[1],
        resume=session.resume,
        resume_ms=grace_ms if session.resume else 0,
        resumed=session.parked is not None,
    )


def _kind_elsewhere(engine: Engine, session: Session, hello: Hello) -> str:
    """The kind of a device that is attached by another server: as the hello says, or as it is known."""
    if not hello.device or hello.kind:
        return hello.kind if hello.device else ""
    user = engine.users.get(session.user_name)
    device = user.devices.get(hello.device) if user is not None else None
    return device.kind if device is not None else ""


def say_welcome(engine: Engine, session: Session, greeting: Greeting, now_ms: int, pace: tuple[int, int]) -> int:
    """Answer the hello; returns the units of work that this costs besides the hello. A link that wants them is told of
    its user's contacts behind the welcome, and of each change of them (protocol.md, section 21.5). O(contacts)."""
    hello, parked = greeting.hello, session.parked
    reply(engine, session, welcome(engine, session, hello, greeting.version, now_ms, pace))
    cost = parked.size // NAMES if parked is not None else 0
    if not hello.contacts and (parked is None or not parked.watches_contacts):
        return cost
    is_quiet = hello.quiet or not hello.contacts
    if hello.contacts:
        engine.contacts.follow(session)
    # As every answer that tells records it is made when those that change in this turn are: its own user's does.
    engine.obligations.put_off(session, lambda now_ms: _watch_contacts(engine, session, now_ms, is_quiet=is_quiet))
    viewer = session.viewer
    return cost + (len(viewer.contacts.contacts) // NAMES if viewer is not None and viewer.contacts is not None else 0)


def _watch_contacts(engine: Engine, session: Session, now_ms: int, *, is_quiet: bool) -> None:
    """Let the link watch its user's contacts, and tell it of them unless it will ask itself. O(contacts)."""
    contacts = engine.watches.add_contacts(now_ms, session)
    if is_quiet:
        return
    record, ledger, most = engine.sight.record, engine.ledger, limits.USERS_PER_REQUEST_MAX
    records = [record(user, face) for user, face in contacts]
    for start in range(0, max(1, len(records)), most):
        some, more = records[start : start + most], start + most < len(records)
        reply(engine, session, ContactRecords(ledger.epoch, ledger.version, some, more))


def _check(hello: Hello, identity: Identity) -> None:
    if hello.user and hello.user != identity.user:
        raise ProtocolError("bad_token", "the hello names another user than the token does")
    if hello.contacts and identity.role != "user":
        raise ProtocolError(
            "bad_hello", f"contacts are watched by links of the role user, and this one is {identity.role}"
        )
    try:
        check_name(identity.user, "user")
    except AddressError as error:
        if identity.expires_ms:
            raise ProtocolError("bad_token", f"the token's claim sub: {error.message}") from None
        raise ProtocolError("bad_hello", error.message) from None
    try:
        if hello.device:
            check_name(hello.device, "device")
        for label, what in ((hello.kind, "kind"), (hello.name, "device label"), (hello.agent, "agent")):
            check_label(label, what)
        check_meta(hello.meta or "")
        check_focus(hello.focus)
    except AddressError as error:
        raise ProtocolError("bad_hello", error.message) from None
