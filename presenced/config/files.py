"""Reads files that an operator names, and never waits for anybody.

The writer of a pipe or a terminal may never come, and a process that waits for one inside a system call reacts to no
signal.
"""

from __future__ import annotations

import os
import pwd
import stat

SECRET_CHARACTERS_MIN = 32
"""Every secret is at least this long (`server.keys`), and few paths are."""


class UnusableFile(Exception):
    """The file can be opened but not used. The text follows the path: "is a directory; ..."."""


def read_regular(path: str, bytes_max: int) -> bytes:
    """The content of a regular file of at most `bytes_max` bytes. `/dev/null` is allowed too: it is always empty.

    Raises `OSError`, `ValueError` (no file can have such a name) and `UnusableFile`.
    """
    # Without O_NONBLOCK, open would wait for the writer of a pipe. With O_NOCTTY, a terminal does not become this
    # process's controlling terminal.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnusableFile("is a directory; name the file in it")
        if not stat.S_ISREG(mode) and path != os.devnull:
            raise UnusableFile(
                f"is {_kind_of(mode)} and not a regular file, so a reload could not read it a second time; "
                "write its content into a file, and name that file"
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
    """Why a file could not be read, and what to do if that is known. The text follows the path of the file."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        user = own_name()
        return (
            f"cannot be read by the user {user}, who runs this process; let {user} read the file "
            f"(chown {user} FILE; chmod 0400 FILE) and enter the directories above it"
        )
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    return str(error) if isinstance(error, UnusableFile) else "cannot be read: no file can have that name"


def own_name() -> str:
    """The name of the user that this process opens files as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"with the number {os.geteuid()}"


def may_be_a_secret(path: str) -> bool:
    """Whether `path` looks like a secret that somebody wrote where the path of a file belongs.

    Many people read logs, so such a text must never be repeated in one. If the directory exists and only the file is
    missing, the text counts as a path.
    """
    if len(path) < SECRET_CHARACTERS_MIN or os.path.lexists(path):
        return False
    directory = os.path.dirname(path)
    return directory in ("", "/") or not os.path.isdir(directory)
