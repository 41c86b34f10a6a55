"""Requests about who may see a user: blocks, hiding, devices that are shown, audiences (protocol.md, section 21.6)."""

from __future__ import annotations

from presenced.address import check_name
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.privacy import Audience, Privacy
from presenced.core.replies import acknowledge, quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import (
    known_user,
    live_device_of,
    name_of,
    require_durability,
    require_memory,
    some_device_of,
    user_of,
)
from presenced.errors import AddressError, RequestError
from presenced.wire.messages import (
    AudienceInfo,
    Block,
    BlockList,
    GetAudience,
    GetBlocked,
    HideFrom,
    SetAudience,
    ShowAgain,
    ShowTo,
    StopShowing,
    Unblock,
)


def _check_contact(engine: Engine, session: Session, user_name: str, contact: str) -> None:
    """Raise what `name_of` raises of the user, and `RequestError` or `AddressError` unless the contact can be somebody
    else."""
    if name_of(engine, session, user_name) == contact:
        raise RequestError("bad_request", f"this is between {quoted(contact)} and another user; name the other")
    if contact not in engine.users:
        check_name(contact, "user")


def _privacy_of(engine: Engine, session: Session, user_name: str) -> Privacy | None:
    """What the user has said until now. Raises what `name_of` raises."""
    user = known_user(engine, session, user_name)
    return user.privacy if user is not None else None


def _block(engine: Engine, session: Session, now_ms: int, message: Block) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    privacy = _privacy_of(engine, session, message.user)
    if privacy is None or message.contact not in privacy.blocked:
        require_memory(engine)
    engine.privacy.block(now_ms, user_of(engine, session, message.user), message.contact)
    acknowledge(engine, session, message.id)


def _unblock(engine: Engine, session: Session, now_ms: int, message: Unblock) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.privacy.unblock(now_ms, user, message.contact)
    acknowledge(engine, session, message.id)


def _get_blocked(engine: Engine, session: Session, now_ms: int, message: GetBlocked) -> None:
    name = name_of(engine, session, message.user)
    privacy = _privacy_of(engine, session, message.user)
    blocked, hidden = (sorted(privacy.blocked), sorted(privacy.hidden)) if privacy is not None else ([], [])
    reply(engine, session, BlockList(message.id, name, blocked, hidden))


def _hide_from(engine: Engine, session: Session, now_ms: int, message: HideFrom) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    privacy = _privacy_of(engine, session, message.user)
    if privacy is None or message.contact not in privacy.hidden:
        require_memory(engine)
    engine.privacy.hide(now_ms, user_of(engine, session, message.user), message.contact)
    acknowledge(engine, session, message.id)


def _show_again(engine: Engine, session: Session, now_ms: int, message: ShowAgain) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.privacy.show_again(now_ms, user, message.contact)
    acknowledge(engine, session, message.id)


def _show_to(engine: Engine, session: Session, now_ms: int, message: ShowTo) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    device = live_device_of(engine, session, message.user, message.device)
    privacy = device.user.privacy
    if privacy is None or device.id not in privacy.shown_to.get(message.contact, ()):
        require_memory(engine)
    engine.showings.show_to(now_ms, device, message.contact)
    engine.leases.tell_inputs(device.user)
    acknowledge(engine, session, message.id)


def _stop_showing(engine: Engine, session: Session, now_ms: int, message: StopShowing) -> None:
    require_durability(engine)
    _check_contact(engine, session, message.user, message.contact)
    device = some_device_of(engine, session, message.user, message.device)
    engine.showings.stop_showing(now_ms, device, message.contact)
    acknowledge(engine, session, message.id)


def _set_audience(engine: Engine, session: Session, now_ms: int, message: SetAudience) -> None:
    require_durability(engine)
    for field, names in (("always", message.always), ("never", message.never)):
        _check_names(engine, field, names)
    always, never = frozenset(message.always), frozenset(message.never)
    audience = Audience(message.text, message.last_seen, message.device, always, never)
    if always or never:
        require_memory(engine)
    engine.privacy.set_audience(now_ms, user_of(engine, session, message.user), audience)
    acknowledge(engine, session, message.id)


def _check_names(engine: Engine, field: str, names: list[str]) -> None:
    """Check names as `check_name` does; the error tells the place of the wrong one."""
    for place, name in enumerate(names, 1):
        if name not in engine.users:
            try:
                check_name(name, "user")
            except AddressError as error:
                raise AddressError(f"name {place} of {field}: {error.message}", error.code) from None


def _get_audience(engine: Engine, session: Session, now_ms: int, message: GetAudience) -> None:
    name = name_of(engine, session, message.user)
    text, last_seen, device, always, never = engine.privacy.audience_of(engine.users.get(name))
    reply(engine, session, AudienceInfo(message.id, name, text, last_seen, device, sorted(always), sorted(never)))


HANDLERS: dict[type, Handler] = {
    Block: Handler(_block, changes=True),
    Unblock: Handler(_unblock, changes=True),
    GetBlocked: Handler(_get_blocked, costs.blocked, has_long_answer=True),
    HideFrom: Handler(_hide_from, changes=True),
    ShowAgain: Handler(_show_again, changes=True),
    ShowTo: Handler(_show_to, changes=True),
    StopShowing: Handler(_stop_showing, changes=True),
    SetAudience: Handler(_set_audience, costs.audience, changes=True),
    GetAudience: Handler(_get_audience, costs.audience_names, has_long_answer=True),
}
