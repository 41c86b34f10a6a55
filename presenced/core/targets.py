"""The user and the device that a request acts on, and whether its link may act on them (protocol.md, section 12.2).

Every request that acts for somebody else goes through here, so that the rule stands in one place. The last functions
say what a request needs besides: a role, rights of the link's token (section 1.4), a disk that takes what is saved,
memory (sections 8 and 8.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.address import check_name
from presenced.core.engine import Engine
from presenced.core.model import GONE, Device, Session, User
from presenced.core.replies import quoted
from presenced.errors import CODES, AddressError, RequestError
from presenced.limits import MEMORY_RETRY_MS, READ_ONLY_RETRY_MS


def name_of(engine: Engine, session: Session, name: str) -> str:
    """The name of the user that a request means: the one given, or the link's own if that is empty.

    Raises `RequestError` (`forbidden`, `no_device`) or `AddressError`.
    """
    if not name or name == session.user_name:
        if session.role != "user" and not name and session.device is None:
            raise RequestError("no_device", "this link speaks for no device of its own; name the user")
        return session.user_name
    if session.role == "user":
        raise RequestError(
            "forbidden", f"a user's link cannot act for {quoted(name)}; that needs the role of a service"
        )
    require_acting(session, name)
    if name not in engine.users:
        # A user whom the server knows from before a rule for names was made can still be named (section 1.2).
        check_name(name, "user")
    return name


def user_of(engine: Engine, session: Session, name: str) -> User:
    """The user that a request means, as in `name_of`. One of whom nothing is known is made, and is dropped at the end
    of the turn if nothing is known of them by then.

    Raises what `name_of` raises, and `RequestError` (`memory_low`) if the user would have to be made.
    """
    user_name = name_of(engine, session, name)
    if user_name not in engine.users:
        require_memory(engine)
    return engine.users.for_request(user_name)


def known_user(engine: Engine, session: Session, name: str) -> User | None:
    """The user that a request means, or None if nothing is known of them. Raises what `name_of` raises."""
    return engine.users.get(name_of(engine, session, name))


def device_of(engine: Engine, session: Session, name: str, device_id: str) -> Device | None:
    """The device that a request is about: the one named; if none is named, the link's own device where the request is
    about the link's own user, and None where it is about another.

    Raises what `name_of` raises, and `RequestError` (`no_such_device`) if the device is named and not known.
    """
    user_name = name_of(engine, session, name)
    if not device_id:
        return session.device if user_name == session.user_name else None
    user = engine.users.get(user_name)
    device = user.devices.get(device_id) if user is not None else None
    if device is None:
        raise RequestError("no_such_device", f"{user_name} has no device {quoted(device_id)}")
    return device


def some_device_of(engine: Engine, session: Session, name: str, device_id: str) -> Device:
    """The device as in `device_of`, for a request that is about nothing without one.

    Raises what `device_of` raises, and `RequestError` (`no_device`) if none is named and the link has none.
    """
    device = device_of(engine, session, name, device_id)
    if device is None:
        raise RequestError("no_device", "name a device; this link has none of its own for that user")
    return device


def live_device_of(engine: Engine, session: Session, name: str, device_id: str) -> Device:
    """The device as in `some_device_of`, and it must be live. Raises `RequestError` (`no_such_device`) if it is not."""
    device = some_device_of(engine, session, name, device_id)
    require_live(device)
    return device


def check_names(engine: Engine, names: Sequence[str]) -> None:
    """Raise `AddressError` if one of several names that a request asks for is none. O(names).

    A user whom the server knows from before a rule for names was made can still be named (section 1.2).
    """
    users = engine.users
    if all(map(users.__contains__, names)):
        # As nearly always, and without a step of the interpreter for each.
        return
    for name in names:
        if not users.knows(name):
            check_asked(name, names)


def check_asked(name: str, asked: Sequence[str]) -> None:
    """Check a name as `check_name` does. If several are asked for, the error tells the place of the wrong one."""
    try:
        check_name(name, "user")
    except AddressError as error:
        if len(asked) == 1:
            raise
        raise AddressError(f"name {asked.index(name) + 1} of {len(asked)}: {error.message}", error.code) from None


def require_live(device: Device) -> None:
    """Raise `RequestError` (`no_such_device`) if the device is gone."""
    if device.state == GONE:
        raise RequestError("no_such_device", f"{device.user.name}/{device.id} is gone; it has to connect first")


def require_service(session: Session) -> None:
    """Raise `RequestError` (`forbidden`) unless the link has the role of a service or of an admin."""
    if session.role == "user":
        raise RequestError(
            "forbidden", "this request needs the role of a service, and this link has the role of a user"
        )


def require_acting(session: Session, name: str) -> None:
    """Raise `RequestError` (`forbidden`) if the link's token does not let it act for this user. O(patterns).

    To be called before anything is looked up: the sentence must not tell whether the user is known.
    """
    if session.rights is not None and not session.rights.acts_for(name):
        raise RequestError("forbidden", f"the token of this link does not let it act for {quoted(name)}")


def require_seeing(session: Session, name: str) -> None:
    """Raise `RequestError` (`forbidden`) if the token of a service does not let it see this user. A user's link is not
    asked: what needs this is about its own user. O(patterns)."""
    if session.role != "user" and session.rights is not None and not session.rights.sees(name):
        raise RequestError("forbidden", f"the token of this link does not let it see {quoted(name)}")


def require_change(session: Session) -> None:
    """Raise `RequestError` (`forbidden`) if the link's token only reads."""
    if session.rights is not None and session.rights.only_read:
        raise RequestError("forbidden", "the token of this link only reads, and this request changes something")


def require_durability(engine: Engine) -> None:
    """Raise `RequestError` (`read_only`, `log_busy`) while the server cannot promise to save anything."""
    if engine.read_only:
        raise RequestError(engine.read_only, CODES[engine.read_only].meaning, retry_ms=READ_ONLY_RETRY_MS)


def require_memory(engine: Engine, level: int = 1) -> None:
    """Raise `RequestError` (`memory_low`) if the server is short of memory at this level or above (section 8.1).

    Level 1 refuses requests that make the server keep more, level 2 also those with long answers.
    """
    if engine.memory_level >= level:
        raise RequestError("memory_low", CODES["memory_low"].meaning, retry_ms=MEMORY_RETRY_MS)
