"""Checks files as the user who runs the service. Root can read every file, so a check by root would miss faults."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable

from presenced.config.loader import SYSTEM_DIRECTORY

SERVICE_USER = "presenced"
HIDDEN = ("/home/", "/root/", "/run/user/")
"""Directories that ProtectHome= of the unit hides from the service."""


def user_of_the_service(config: str) -> str:
    """The user to check the files as if none was named. It is the service's user if `config` is the service's
    configuration and this process is root's; else "", for the user of this process."""
    in_system = os.path.abspath(config).startswith(f"{SYSTEM_DIRECTORY}/") if config else False
    if os.geteuid() != 0 or not in_system:
        return ""
    try:
        return pwd.getpwnam(SERVICE_USER).pw_name
    except KeyError:
        return ""


def as_user(name: str, judge: Callable[[], Iterable[str]]) -> list[str]:
    """The sentences that `judge` returns in a process of the user `name`, each on one line.

    Raises `KeyError` if the user does not exist, and `PermissionError` if this process may not become that user.
    """
    user = pwd.getpwnam(name)
    if os.geteuid() not in (0, user.pw_uid):
        raise PermissionError(f"only root may check files as the user {name}")
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
                said = f"the files could not be checked as the user {name}: {type(error).__name__}: {error}"
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
    """A sentence if the unit hides the file from the service, whatever its mode; else nothing."""
    place = next((place for place in HIDDEN if path and os.path.realpath(path).startswith(place)), "")
    if not place:
        return []
    below = place.rstrip("/")
    return [f"{key} {path}: the service cannot see files below {below} (ProtectHome= of the unit); move the file"]
