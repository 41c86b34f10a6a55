"""Files that an operator names, read without ever waiting for anybody: a pipe or a terminal has a writer who may never
come, and whoever waits for one inside of a system call hears no signal.
"""

from __future__ import annotations

import os
import pwd
import stat

SECRET_CHARACTERS_MIN = 32
"""No secret is shorter (`server.keys`), and few paths are as long."""


class UnusableFile(Exception):
    """What is there can be opened and is of no use. The words follow the path: "is a directory; ..."."""


def read_regular(path: str, bytes_max: int) -> bytes:
    """What is in a regular file of at most `bytes_max` bytes. Raises `OSError`, `ValueError` (no file can have such a
    name) and `UnusableFile`. A device that is always empty (`/dev/null`) will do."""
    # Without O_NONBLOCK the opening of a pipe would wait for its writer; O_NOCTTY takes no terminal for one's own.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnusableFile("is a directory; name the file in it")
        if not stat.S_ISREG(mode) and path != os.devnull:
            raise UnusableFile(
                f"is not a regular file, and a reload could not read it a second time: it is {_kind_of(mode)}; "
                "write what it gives into a file, and name that"
            )
        parts, left = [], bytes_max + 1
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise UnusableFile(f"has more than {bytes_max:,} bytes; is it the right file?")
    return b"".join(parts)


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFSOCK: "a socket", stat.S_IFBLK: "a disk"}
    return kinds.get(stat.S_IFMT(mode), "something else")


def why_unread(error: OSError | ValueError | UnusableFile) -> str:
    """Words that follow the path of a file that could not be read, with what to do where that can be known."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        user = own_name()
        return (
            f"cannot be read by the user {user}, as whom this runs; give it the file "
            f"(chown {user} FILE; chmod 0400 FILE), and let it enter the directories above"
        )
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error) if isinstance(error, UnusableFile) else "cannot be read: no file can have that name"


def own_name() -> str:
    """The user as whom this process opens files."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"with the number {os.geteuid()}"


def may_be_a_secret(path: str) -> bool:
    """Whether this looks less like the path of a file than like a secret that was written where a path belongs.

    Such a one must be repeated nowhere: logs are read by many. A file that is missing in a directory that is there is
    a path all the same.
    """
    if len(path) < SECRET_CHARACTERS_MIN or os.path.lexists(path):
        return False
    directory = os.path.dirname(path)
    return directory in ("", "/") or not os.path.isdir(directory)
