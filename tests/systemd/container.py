"""A booted systemd to try units on: a throw-away copy of this machine's file system in a container.

The copy is an overlay whose changes are in memory, mounted in a mount namespace of its own, so that the kernel undoes
everything when the container's processes are gone; those die with this process. The container has a network of its
own with nothing but the loopback, and boots no more than sysinit.target: none of this machine's services.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.until import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]
SOURCE = "/usr/src/presenced"
"""Where the container has the repository, read-only."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PREPARE = """
set -eu
directory=$1
mount -t tmpfs -o mode=0755 tmpfs "$directory"
mkdir "$directory/upper" "$directory/work" "$directory/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" "$directory/root"
"""

FRESH = """
machine=$2 repository=$3
cd "$directory/root"
rm -rf etc/presenced var/lib/presenced* var/lib/private/presenced* usr/local/lib/presenced
rm -f usr/local/lib/systemd/system/presenced* etc/systemd/system/presenced* etc/systemd/system/*/presenced*
rm -f etc/machine-id
echo "$machine" >etc/machine-id
: >etc/fstab
mkdir -p etc/systemd/journald.conf.d usr/src/presenced
printf '[Journal]\\nStorage=volatile\\nRateLimitBurst=0\\n' >etc/systemd/journald.conf.d/test.conf
for unit in systemd-networkd-wait-online NetworkManager-wait-online ifupdown-wait-online; do
	ln -sf /dev/null "etc/systemd/system/$unit.service"
done
"""

BOOT = """
shift 3
for group in "$@"; do echo $$ >"$group/cgroup.procs"; done
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=0755 tmpfs /run/systemd/nspawn
exec systemd-nspawn --quiet --register=no --keep-unit --link-journal=no --private-network --resolv-conf=off \
	--timezone=off --console=pipe --machine="$machine" --bind-ro="$repository:/usr/src/presenced" \
	--directory="$directory/root" --boot systemd.unit=sysinit.target
"""


def unable() -> str:
    """Why no container can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root to boot a systemd in a container"
    for program in ("systemd-nspawn", "nsenter", "unshare", "setpriv"):
        if shutil.which(program) is None:
            return f"needs {program} (on Debian: apt install systemd-container util-linux)"
    probe = Path("/run") / f"presenced-probe-{secrets.token_hex(4)}"
    probe.mkdir()
    try:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", str(probe)]
        tried = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    finally:
        probe.rmdir()
    return f"cannot mount an overlay here: {tried.stderr.strip()}" if tried.returncode else ""


class Failed(AssertionError):
    """A command in the container ended with another status than expected."""


class Container:
    """A running container. `close` ends it; so does the end of this process, whatever ends it."""

    def __init__(self, directory: Path) -> None:
        self._mounted = directory / "machine"
        self._mounted.mkdir()
        self._output = directory / "nspawn.log"
        script = PREPARE + FRESH + BOOT
        machine = secrets.token_hex(16)
        self._groups = _make_control_groups(f"presenced-test-{machine}")
        arguments = [str(self._mounted), machine, str(REPOSITORY), *map(str, self._groups)]
        with self._output.open("wb") as output:
            # unshare dies with this process, the first process of its PID namespace with unshare, and with that one
            # everything in there: the container's processes would outlive systemd-nspawn.
            self._nspawn = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
                + ["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._init_pid = 0
        try:
            self.wait_for(self._booted, "systemd came up")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the container and wait until all of it is gone. Idempotent."""
        if self._nspawn.poll() is None:
            if self._init_pid:
                # Asked to halt (systemd(1)), it ends in order; the kill below is for one that does not, and takes all
                # of its processes along.
                os.kill(self._init_pid, signal.SIGRTMIN + 3)
                try:
                    self._nspawn.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    pass
            self._nspawn.kill()
            self._nspawn.wait()
        for group in self._groups:
            for directory, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(directory)
                except OSError:
                    continue
        self._groups = []
        if self._mounted.exists():
            self._mounted.rmdir()

    # --- commands -------------------------------------------------------------------------------------------------

    def popen(self, *command: str, network: bool = False, env: dict[str, str] | None = None, **options: Any) -> Any:
        """Start a command in the container, as root; with `network` it has this machine's network."""
        enter = ["nsenter", "--target", str(self._init_pid), "--mount", "--uts", "--ipc", "--pid", "--root"]
        if not network:
            enter.append("--net")
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        clean = ["env", "--ignore-environment", "--chdir=/", *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.Popen([*enter, "--", *clean, *command], text=True, **options)

    def run(self, *command: str, status: int | None = 0, timeout_s: float = PATIENCE_S, **options: Any) -> str:
        """What a command prints (both streams); `status` is what it must end with, None = anything."""
        process = self.popen(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        if status is not None and process.returncode != status:
            raise Failed(f"{' '.join(command)} ended with {process.returncode}, not {status}:\n{output}")
        return str(output)

    def sh(self, script: str, status: int | None = 0, **options: Any) -> str:
        """`run` for a shell script."""
        return self.run("sh", "-euc", script, status=status, **options)

    def write(self, path: str, text: str) -> None:
        """Write a file of the container."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1"', "sh", path, text)

    def read(self, path: str) -> str:
        """What is in a file of the container."""
        return self.run("cat", path)

    # --- units ----------------------------------------------------------------------------------------------------

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def main_pid(self, unit: str) -> int:
        """The unit's main process as the container numbers it; 0 = none."""
        return int(self.show(unit, "MainPID"))

    def journal(self, unit: str, after: str = "") -> list[dict[str, Any]]:
        """The entries of and about a unit, oldest first; with `after` those later than that cursor."""
        extra = ["--after-cursor", after] if after else []
        text = self.run("journalctl", "--no-pager", "--output=json", "--unit", unit, *extra)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def cursor(self) -> str:
        """Where the journal ends now."""
        self.run("journalctl", "--sync")
        return str(json.loads(self.run("journalctl", "--no-pager", "--output=json", "--lines=1"))["__CURSOR"])

    def wait_for(self, holds: Callable[[], bool], what: str, wait_s: float = PATIENCE_S) -> None:
        """Look until it holds; fail after a while."""
        deadline = time.monotonic() + wait_s
        while not holds():
            assert self._nspawn.poll() is None, f"the container ended:\n{self._output.read_text(errors='replace')}"
            assert time.monotonic() < deadline, f"it did not come about within {wait_s:g} s that {what}"
            time.sleep(0.05)

    def _booted(self) -> bool:
        if not self._init_pid:
            inits = [pid for nspawn in _children_of(self._nspawn.pid) for pid in _children_of(nspawn)]
            inits = [pid for pid in inits if _name_of(pid) == "systemd"]
            if not inits:
                return False
            self._init_pid = inits[0]
        return self.run("systemctl", "is-system-running", status=None).strip() in ("running", "degraded")


def _make_control_groups(name: str) -> list[Path]:
    """Control groups for one container alone, below this process's own; where that may not be, it does without."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for _, mounted, kind, options, *_ in mounts:
            if (kind == "cgroup2" and not controllers) or (
                kind == "cgroup" and controllers == "name=systemd" and controllers in options.split(",")
            ):
                group = Path(mounted) / path.lstrip("/") / name
                try:
                    group.mkdir()
                except OSError:
                    continue
                made.append(group)
    return made


def _children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
