"""`presenced serve --nodes 2` as a process, with directories of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from presenced.cli.admin_link import AdminLink
from presenced.errors import PresenceError
from presenced.runtime_paths import node_admin_path
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.until import until

LONE = "from tests.nodes import lone_nodes\nlone_nodes.patch()\n"


class Nodes(Daemon):
    """`presenced serve --nodes 2`, in directories of its own."""

    patches = LONE

    def __init__(self, folder: Path, *options: str, patches: str = "", **given: Any) -> None:
        self.run_path = folder / "run"
        self.run_path.mkdir(mode=0o700, exist_ok=True)
        self.ends = folder / "ends"
        self.ends.touch()
        environ = {
            "XDG_RUNTIME_DIR": str(self.run_path),
            "LONE_NODES": str(self.ends),
            "PYTHONPATH": str(REPOSITORY),
            **given.pop("environ", {}),
        }
        environ.setdefault("RUNTIME_DIRECTORY", "")
        super().__init__(
            folder / "log",
            *given.pop("given_nodes", ("--nodes", "2")),
            *("--node", "n", "--admin-socket", "auto", "--drain-spread", "0", *options),
            environ=environ,
            patches=self.patches + patches,
            apart=True,
            **given,
        )

    def admin_path(self, number: int) -> str:
        return node_admin_path(str(self.run_path / "presenced" / "admin.sock"), number)

    def admin(self, number: int) -> AdminLink:
        """The admin socket of a node."""
        return AdminLink(self.admin_path(number), 20)

    def ask(self, number: int, verb: str = "status") -> Any:
        with self.admin(number) as link:
            return link.ask(verb)

    def pid_of(self, number: int) -> int:
        """The process of a node; 0 while it does not answer."""
        try:
            return int(self.ask(number)["pid"])
        except PresenceError:
            return 0

    def until_pid(self, number: int, *, other_than: int = 0) -> int:
        until(lambda: self.pid_of(number) not in (0, other_than), lambda: f"node {number} is not there\n{self.log()}")
        return self.pid_of(number)

    def engine_pid(self) -> int:
        """The process of the engine; 0 while there is none."""
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            if b"redis-server" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        return 0
