"""Asks what the user of the service may read: root may read everything, and so finds every configuration sound."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable

from presenced.config.loader import SYSTEM_DIRECTORY

SERVICE_USER = "presenced"
HIDDEN = ("/home/", "/root/", "/run/user/")
"""What ProtectHome= of the unit keeps from the service."""


def user_of_the_service(config: str) -> str:
    """As whom the files are judged if nobody says so: the service's user, where it is the service's configuration and
    this process may become that user; else "", this process as it is."""
    in_system = os.path.abspath(config).startswith(f"{SYSTEM_DIRECTORY}/") if config else False
    if os.geteuid() != 0 or not in_system:
        return ""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_name
    except KeyError:
        return ""


def as_user(name: str, judge: Callable[[], Iterable[str]]) -> list[str]:
    """The sentences that `judge` gives in a process of that user, each on one line. Raises `KeyError` for a user that
    does not exist, `PermissionError` for one that this process may not become."""
    user = pwd.getpwnam(name)
    if os.geteuid() not in (0, user.pw_uid):
        raise PermissionError(f"only root may look with the eyes of {name}")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            if os.geteuid() == 0:
                os.initgroups(name, user.pw_gid)
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            try:
                said = "\n".join(" ".join(sentence.splitlines()) for sentence in judge())
            except Exception as error:
                said = f"the files could not be judged as the user {name}: {type(error).__name__}: {error}"
            with os.fdopen(write_end, "w", encoding="utf-8", errors="backslashreplace") as output:
                output.write(said)
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said.splitlines()


def hidden_from_the_service(key: str, path: str) -> list[str]:
    """That the unit hides the file, whoever may read it; else nothing."""
    place = next((place for place in HIDDEN if path and os.path.realpath(path).startswith(place)), "")
    if not place:
        return []
    below = place.rstrip("/")
    return [f"{key} {path}: the service sees nothing below {below} (ProtectHome= of the unit); move the file"]
