"""Nodes that join nothing: the supervisor of `presenced serve --nodes N` alone is what is tried.

`patch` changes the process of the supervisor so that it starts `python -m tests.nodes.lone_nodes OPTIONS` as nodes. A
node whose name stands in the file that LONE_NODES names, as NAME=CODE, ends at its start with that code; as NAME=slow
it never comes to the end of its drain.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from presenced.cli import entry, supervision
from presenced.config import Settings
from presenced.server import engine_access, lifecycle
from presenced.server.clustering import entrance


async def join_nothing(settings: Settings, *_: object) -> None:
    said = os.environ.get("LONE_NODES", "")
    for line in Path(said).read_text().split() if said else ():
        name, _, code = line.partition("=")
        if settings.node_name == name and code == "slow":
            lifecycle.close_links = never  # type: ignore[attr-defined]
        elif settings.node_name == name:
            os._exit(int(code))


async def never(*_: object) -> None:
    await asyncio.Event().wait()


def patch() -> None:
    engine_access.faults_of_library = list
    entrance.open_cluster = join_nothing
    supervision.program = lambda: [sys.executable, "-m", "tests.nodes.lone_nodes"]


if __name__ == "__main__":
    patch()
    sys.argv = ["presenced", "serve", *sys.argv[1:]]
    entry.daemon()
