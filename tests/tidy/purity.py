"""What the code does not touch that a test runs on a clock of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.sources import Source, imports, walk, within

IMPURE = frozenset(
    "asyncio uvloop socket ssl selectors threading multiprocessing concurrent os io pathlib time datetime random "
    "secrets uuid logging signal subprocess weakref".split()
)
LOOPS = ("asyncio", "uvloop")
SOCKETS_AND_CLOCKS = (*LOOPS, "socket", "ssl", "selectors", "os", "time")
WITHOUT_LOOP = {
    "server.turn": LOOPS,
    "server.fact_log": LOOPS,
    "server.conversation": SOCKETS_AND_CLOCKS,
    "server.links": SOCKETS_AND_CLOCKS,
    "server.transports.base": SOCKETS_AND_CLOCKS,
    "client.protocol": SOCKETS_AND_CLOCKS,
}
"""Modules and packages that a test or a simulator runs on a clock of its own, and what they therefore do not import."""


def purity(source: Source) -> Iterator[tuple[int, str]]:
    if source.part in ("core", "wire", "chat_commands"):
        for line, name in imports(source):
            if name.split(".")[0] in IMPURE:
                yield line, f"imports {name}: {source.part} is deterministic; time and input come as arguments"
    for place, kept_out in WITHOUT_LOOP.items():
        for line, name in imports(source) if within(source.module, (place,)) else ():
            if name.split(".")[0] in kept_out:
                yield line, f"imports {name}: a simulator runs the same code without an event loop"


def core_is_synchronous(source: Source) -> Iterator[tuple[int, str]]:
    if source.part != "core":
        return
    for node in walk(source.tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)):
            yield node.lineno, "waits: nothing in the core may be interrupted half-way"
        targets = [node] if isinstance(node, ast.For) else getattr(node, "generators", [])
        for target in targets:
            if is_set(target.iter):
                yield target.iter.lineno, "iterates a set: its order differs from run to run; use a dict or a list"


def is_set(node: ast.expr) -> bool:
    if isinstance(node, (ast.Set, ast.SetComp)):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
