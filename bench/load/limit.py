"""The bare C loop, `native/limit.c`: compiling, starting and connecting to it, and its counts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from bench.errors import BenchError
from bench.load.links import OPENING_AT_ONCE, Link, open_link
from bench.machine.server import Server
from bench.paths import BENCH, BUILD

SOURCE = BENCH / "native" / "limit.c"
COMPILERS = ("cc", "gcc", "clang")


def start_limit(core: int, mode: str) -> Server:
    """The C server in `mode` (`star`, `coalesced` or `read`), compiled first if its source is new."""
    return Server([str(_compiled_limit()), mode], core, r"(\d+)\n")


def stop_limit(limit: Server) -> dict[str, int]:
    """End the C server and return its counts; a run in which it dropped anything is void."""
    said = limit.stop()
    if not said:
        raise BenchError("the C server ended before its counts were read")
    counts: dict[str, int] = json.loads(said)
    if counts["dropped"]:
        raise BenchError(f"the C server dropped {counts['dropped']} writes (full buffers); the run is void")
    return counts


def open_limit_links(stack: ExitStack, port: int, users: list[str], role: bytes) -> list[Link]:
    """One link for each user, as `open_device_links` does it for the daemon: `role` is b"W" or b"P"."""
    links: list[Link] = []
    for at in range(0, len(users), OPENING_AT_ONCE):
        opened = [open_link(stack, port, user) for user in users[at : at + OPENING_AT_ONCE]]
        links += opened
        for link in opened:
            link.socket.sendall(role)
        for link in opened:
            if link.socket.recv(1) != b"A":
                raise BenchError("the C server did not acknowledge a link")
    return links


def _compiled_limit() -> Path:
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    binary = BUILD / f"limit-{digest}"
    if binary.exists():
        return binary
    compiler = next((found for name in COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise BenchError(
            "no C compiler (cc, gcc or clang) for the bench's limit; install one, e.g. apt-get install gcc"
        )
    binary.parent.mkdir(exist_ok=True)
    partial = binary.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, "-O2", "-o", str(partial), str(SOURCE)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{compiler} could not compile {SOURCE}:\n{done.stderr.strip()}")
    partial.rename(binary)
    return binary
