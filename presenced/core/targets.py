"""Whom and what a request is about, and whether its link may: the one choke point for acting for somebody else."""

from __future__ import annotations

from presenced.address import check_name
from presenced.core.engine import Engine
from presenced.core.model import GONE, Device, Session, User
from presenced.core.replies import quoted
from presenced.errors import CODES, RequestError
from presenced.limits import MEMORY_RETRY_MS, READ_ONLY_RETRY_MS


def name_of(engine: Engine, session: Session, name: str) -> str:
    """The user that a request means: the one named, or the link's own.

    Raises `RequestError` (`forbidden`, `no_device`) or `AddressError`.
    """
    if not name or name == session.user_name:
        if session.role != "user" and not name and session.device is None:
            raise RequestError("no_device", "this link speaks for no device of its own; name the user")
        return session.user_name
    if session.role == "user":
        raise RequestError(
            "forbidden", f"a user's link cannot act for {quoted(name)}; that takes the role of a service"
        )
    if name not in engine.users:
        # Whoever is known may have a name from before the rules for names were what they are.
        check_name(name, "user")
    return name


def user_of(engine: Engine, session: Session, name: str) -> User:
    """That user, made if nothing is known of them yet, and dropped with the turn if that stays so.

    Raises as `name_of`, and `RequestError` (`memory_low`) if the user would have to be made.
    """
    user_name = name_of(engine, session, name)
    if user_name not in engine.users:
        require_memory(engine)
    return engine.users.spoken_of(user_name)


def known_user(engine: Engine, session: Session, name: str) -> User | None:
    """That user, or None if nothing is known of them."""
    return engine.users.get(name_of(engine, session, name))


def device_of(engine: Engine, session: Session, name: str, device_id: str) -> Device | None:
    """The device that a request is about: the one named, else the link's own if it is about its own user.

    Raises `RequestError` (`no_such_device`) for one that is named and not known.
    """
    user_name = name_of(engine, session, name)
    if not device_id:
        return session.device if user_name == session.user_name else None
    user = engine.users.get(user_name)
    device = user.devices.get(device_id) if user is not None else None
    if device is None:
        raise RequestError("no_such_device", f"{user_name} has no device {quoted(device_id)}")
    return device


def live_device_of(engine: Engine, session: Session, name: str, device_id: str) -> Device:
    """The same, and it must be there and live. Raises `RequestError` (`no_device`, `no_such_device`)."""
    device = device_of(engine, session, name, device_id)
    if device is None:
        raise RequestError("no_device", "name a device; this link has none of its own for that user")
    require_live(device)
    return device


def require_live(device: Device) -> None:
    """Raise `RequestError` (`no_such_device`) if it is gone."""
    if device.state == GONE:
        raise RequestError("no_such_device", f"{device.user.name}/{device.id} is gone; it has to connect first")


def require_service(session: Session) -> None:
    """Raise `RequestError` (`forbidden`) unless the link has the role of a service or of an admin."""
    if session.role == "user":
        raise RequestError("forbidden", "this takes the role of a service, and this link has that of a user")


def require_durability(engine: Engine) -> None:
    """Raise `RequestError` if nothing can be promised to be kept just now."""
    if engine.read_only:
        raise RequestError(engine.read_only, CODES[engine.read_only].meaning, retry_ms=READ_ONLY_RETRY_MS)


def require_memory(engine: Engine, level: int = 1) -> None:
    """Raise `RequestError` (`memory_low`) if memory is so short that what this request needs is refused: from level 1
    on what would be kept, from level 2 on also what has a long answer."""
    if engine.memory_level >= level:
        raise RequestError("memory_low", CODES["memory_low"].meaning, retry_ms=MEMORY_RETRY_MS)
