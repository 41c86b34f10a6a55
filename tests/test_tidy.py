"""Holds the shape of the code: who may import whom, what the pure layers may not touch, and sizes.

Each rule is a function from one parsed file to complaints, each with the place and the reason, so that whoever
breaks a rule learns what it is for. The second half breaks every rule once, to see it complain.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "presenced"

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` to the reason why it may be longer."""

GROUND = ("errors", "limits", "address", "characters", "durations")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "errors": (),
    "limits": (),
    "durations": ("errors", "limits"),
    "address": ("characters", "errors", "limits"),
    "characters": ("unicode_table",),
    "unicode_table": (),
    "runtime_paths": (),
    "wire": (*GROUND, "wire"),
    "core": (*GROUND, "wire", "core"),
    "storage": (*GROUND, "core.records", "storage"),
    "config": (*GROUND, "core.policy", "config"),
    "server": (*GROUND, "config", "wire", "core", "storage", "server", "__version__"),
    "ops": (*GROUND, "runtime_paths", "config", "wire", "core", "server", "ops", "__version__"),
    "client": (*GROUND, "wire", "client", "__version__"),
    "sync": ("client",),
    "cli": (
        *GROUND,
        "runtime_paths",
        "config",
        "wire",
        "core",
        "storage",
        "server",
        "ops",
        "client",
        "cli",
        "__version__",
    ),
    "__init__": (*GROUND, "wire", "client", "sync"),
    "__main__": ("cli",),
    "examples": ("", "sync"),
}
"""What each part of the package may import from the package ("" = `import presenced` itself). A part that is not named
here is refused. The examples do with what every application has."""

BENCH = REPOSITORY / "bench"
BENCH_MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "__init__": (),
    "errors": (),
    "paths": (),
    "results": ("errors", "results"),
    "machine": ("errors", "paths", "results", "machine"),
    "load": ("errors", "paths", "results", "machine", "load"),
    "peers": ("errors", "results", "machine", "load", "peers"),
    "profiles": ("errors", "results", "machine", "load", "peers"),
    "registry": ("errors", "results"),
    "catalog": ("registry",),
    "report": ("errors", "results", "machine", "catalog", "report"),
    "runner": ("errors", "results", "machine", "registry", "report"),
    "__main__": ("errors", "results", "catalog", "registry", "report", "runner"),
}
"""What each part of the bench may import from the bench. No profile imports another: what two need is load."""

BENCH_KNOWS: dict[str, tuple[str, ...]] = {
    "load": ("limits", "wire"),
    "peers": ("limits", "wire"),
    "profiles": ("limits", "wire"),
    "load.filling": ("wire", "core", "storage"),
    "profiles.core": ("wire", "core", "server.turn", "server.fact_log"),
    "profiles.channel": ("wire", "core", "server.turn", "server.fact_log"),
    "profiles.operate": ("wire", "cli.admin_link"),
}
"""What parts and modules of the bench know of the package: it measures the daemon from outside. `filling` runs in a
process of its own, and two profiles are of the engine alone."""

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
}
"""Modules of the edge that a test or a simulator runs on a clock of its own, and what they therefore do not import."""

LATE_IMPORTS = {
    "uvloop": ("server", "cli"),
    "rich": ("cli",),
    "asyncio": ("cli",),
    "logging": ("cli",),
    "ssl": ("cli",),
    "presenced": ("cli", "__init__"),
    "ctypes": ("server",),
}
"""What may be imported inside functions, and in which parts. uvloop is optional, and ctypes may not load. A command
starts fast only if it loads what it uses and nothing more: rich for a table, asyncio for a link, ssl for TLS, the
server for `serve`. And the package's `__getattr__` spares the server the client."""


class Source(NamedTuple):
    """One file: its path below the repository, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name below `presenced` or `bench`: `core.engine`, `errors`, `__init__`."""
        parts = Path(self.path).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    @property
    def part(self) -> str:
        return self.module.split(".")[0]


Rule = Callable[[Source], Iterator[tuple[int, str]]]


def read(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, path))


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, wherever in the file."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = [Path(source.path).parts[0], *source.module.split(".")]
                if not source.path.endswith("__init__.py"):
                    parts = parts[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


# --- the rules ---------------------------------------------------------------------------------------------------


def layering(source: Source) -> Iterator[tuple[int, str]]:
    allowed = MAY_IMPORT.get(source.part)
    if allowed is None:
        yield 1, f"the part {source.part!r} has no place in the layers; give it one in MAY_IMPORT"
        return
    for line, name in imports(source):
        top, _, inner = name.partition(".")
        if top in ("tests", "bench"):
            yield line, f"imports {top}: what is installed must not need what is not"
        if top != "presenced":
            continue
        if not within(inner, allowed):
            may = ", ".join(allowed) or "nothing of ours"
            yield line, f"{source.part} imports {name}, a layer not below it; it may import {may}"


def within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def bench_layering(source: Source) -> Iterator[tuple[int, str]]:
    allowed = BENCH_MAY_IMPORT.get(source.part)
    if allowed is None:
        yield 1, f"the part {source.part!r} of the bench has no place in its layers; give it one in BENCH_MAY_IMPORT"
        return
    known = BENCH_KNOWS.get(source.module, BENCH_KNOWS.get(source.part, ()))
    for line, name in imports(source):
        top, _, inner = name.partition(".")
        if top == "tests":
            yield line, f"imports {name}: the bench runs without the tests"
        if top == "bench" and not within(inner, allowed):
            may = ", ".join(allowed) or "nothing of the bench"
            yield line, f"{source.part} imports {name}, a layer not below it; it may import {may}"
        if top == "presenced" and not within(inner, known):
            may = ", ".join(known) or "nothing of it"
            yield line, f"{source.module} imports {name}: the bench measures from outside; it may know {may}"


def purity(source: Source) -> Iterator[tuple[int, str]]:
    if source.part in ("core", "wire"):
        for line, name in imports(source):
            if name.split(".")[0] in IMPURE:
                yield line, f"imports {name}: {source.part} is deterministic; time and input come as arguments"
    if source.module in WITHOUT_LOOP:
        for line, name in imports(source):
            if name.split(".")[0] in WITHOUT_LOOP[source.module]:
                yield line, f"imports {name}: a simulator runs the same code without an event loop"


def core_is_synchronous(source: Source) -> Iterator[tuple[int, str]]:
    if source.part != "core":
        return
    for node in ast.walk(source.tree):
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


def no_swallowing(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "a bare except takes KeyboardInterrupt and CancelledError too; name the class"
            continue
        caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException") for kind in caught)
        if broad and all(does_nothing(statement) for statement in node.body):
            yield node.lineno, "catches everything and does nothing: a bug of ours would vanish here"


def does_nothing(statement: ast.stmt) -> bool:
    dots = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return dots or isinstance(statement, (ast.Pass, ast.Continue))


def size(source: Source) -> Iterator[tuple[int, str]]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield FILE_LINES_MAX, f"{lines} lines; over {FILE_LINES_MAX} a file has more than one job: split it"
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES_MAX and f"{source.path}:{node.name}" not in LONG_FUNCTIONS:
                yield node.lineno, f"{node.name} has {length} lines, over {FUNCTION_LINES_MAX}: does not fit a screen"


def docstring(source: Source) -> Iterator[tuple[int, str]]:
    if source.text.strip() and ast.get_docstring(source.tree) is None:
        yield 1, "has no docstring: say what the module owns and what it must not know"


def imports_at_the_top(source: Source) -> Iterator[tuple[int, str]]:
    for function in ast.walk(source.tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "."]
            else:
                continue
            for name in names:
                if source.part not in LATE_IMPORTS.get(name.split(".")[0], ()):
                    yield node.lineno, f"imports {name} inside {function.name}: dependencies stand at the top"


def requests_write_nothing(source: Source) -> Iterator[tuple[int, str]]:
    if not source.module.startswith("core.requests"):
        return
    for line, name in imports(source):
        if name.startswith(("presenced.core.records", "presenced.core.wheel")):
            yield line, f"imports {name}: facts and deadlines are the engine's and its parts'"
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Assign, ast.Delete)):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        else:
            continue
        if any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in targets):
            yield node.lineno, "writes state: a request checks, makes one call of the engine or a part, and replies"


RULES: list[Rule] = [
    layering,
    purity,
    core_is_synchronous,
    no_swallowing,
    size,
    docstring,
    imports_at_the_top,
    requests_write_nothing,
]


BENCH_RULES: list[Rule] = [bench_layering, no_swallowing, size, docstring]


def sources(package: Path = PACKAGE) -> list[Source]:
    return [
        read(path.relative_to(REPOSITORY).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps(rule: Rule) -> None:
    complaints = [f"{source.path}:{line}: {why}" for source in sources() for line, why in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize("rule", BENCH_RULES, ids=lambda rule: rule.__name__)
def test_the_bench_keeps(rule: Rule) -> None:
    complaints = [f"{source.path}:{line}: {why}" for source in sources(BENCH) for line, why in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_exceptions_are_still_needed() -> None:
    """A permission that nothing uses any more would let the next breach pass unseen."""
    functions = {
        f"{source.path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for source in sources()
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    for name, reason in LONG_FUNCTIONS.items():
        assert reason, f"{name} is allowed to be long without a reason"
        assert functions.get(name, 0) > FUNCTION_LINES_MAX, f"{name} is no longer too long; take it off the list"


# --- each rule broken once ---------------------------------------------------------------------------------------

BREACHES: list[tuple[Rule, str, str, str]] = [
    (layering, "limits.py", "import presenced.errors", "nothing of ours"),
    (layering, "errors.py", "from presenced.limits import X", "nothing of ours"),
    (layering, "address.py", "from presenced.wire import frames", "a layer not below it"),
    (layering, "durations.py", "from presenced.address import X", "a layer not below it"),
    (layering, "wire/frames.py", "from presenced.core import engine", "a layer not below it"),
    (layering, "wire/frames.py", "from ..core import engine", "presenced.core.engine"),
    (layering, "wire/__init__.py", "from ..core import engine", "presenced.core.engine"),
    (layering, "core/engine.py", "from presenced.server import turn", "a layer not below it"),
    (layering, "core/engine.py", "from presenced import client", "a layer not below it"),
    (layering, "core/engine.py", "def f():\n    import presenced.storage.log", "a layer not below it"),
    (layering, "storage/log.py", "from presenced.core.engine import Engine", "a layer not below it"),
    (layering, "storage/log.py", "from presenced.core.records_of_old import X", "a layer not below it"),
    (layering, "server/stats.py", "from presenced.client import session", "a layer not below it"),
    (layering, "server/stats.py", "from presenced.cli import daemon", "a layer not below it"),
    (layering, "client/session.py", "from presenced.core.merge import merge", "a layer not below it"),
    (layering, "client/session.py", "from presenced.server import links", "a layer not below it"),
    (layering, "client/session.py", "from presenced.storage import log", "a layer not below it"),
    (layering, "cli/ctl.py", "from tests.helpers import X", "what is installed"),
    (layering, "server/stats.py", "import bench.profiles.fanout", "what is installed"),
    (layering, "core/engine.py", "from presenced import __version__", "a layer not below it"),
    (layering, "server/stats.py", "import presenced", "a layer not below it"),
    (layering, "examples/chat.py", "from presenced.client import connect", "a layer not below it"),
    (layering, "examples/chat.py", "import presenced.wire", "a layer not below it"),
    (layering, "examples/chat.py", "from . import bot", "a layer not below it"),
    (layering, "extras/new.py", "", "has no place in the layers"),
    *[(purity, "core/engine.py", f"import {name}", "is deterministic") for name in sorted(IMPURE)],
    (purity, "wire/frames.py", "from os import path", "is deterministic"),
    (purity, "core/engine.py", "import concurrent.futures", "is deterministic"),
    (purity, "core/engine.py", "def f():\n    from time import monotonic", "is deterministic"),
    (purity, "server/turn.py", "import asyncio", "a simulator"),
    (purity, "server/turn.py", "from asyncio import sleep", "a simulator"),
    (purity, "server/fact_log.py", "import asyncio", "a simulator"),
    (purity, "server/conversation.py", "import asyncio", "a simulator"),
    (purity, "server/conversation.py", "from time import monotonic_ns", "a simulator"),
    (purity, "server/transports/base.py", "import socket", "a simulator"),
    (core_is_synchronous, "core/engine.py", "async def f(): ...", "half-way"),
    (core_is_synchronous, "core/engine.py", "async def f():\n    await g()", "half-way"),
    (core_is_synchronous, "core/engine.py", "for x in {1, 2}: ...", "iterates a set"),
    (core_is_synchronous, "core/engine.py", "for x in set(y): ...", "iterates a set"),
    (core_is_synchronous, "core/engine.py", "z = [x for x in {n for n in y}]", "iterates a set"),
    (core_is_synchronous, "core/engine.py", "z = {x: 1 for x in frozenset(y)}", "iterates a set"),
    (no_swallowing, "server/stats.py", "try: ...\nexcept: f()", "a bare except"),
    (no_swallowing, "server/stats.py", "try: ...\nexcept Exception: pass", "would vanish"),
    (no_swallowing, "server/stats.py", "try: ...\nexcept (OSError, BaseException): ...", "would vanish"),
    (no_swallowing, "server/stats.py", "for x in y:\n    try: ...\n    except Exception: continue", "would vanish"),
    (size, "server/stats.py", "\n" * (FILE_LINES_MAX + 1), "more than one job"),
    (size, "server/stats.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX, "fit a screen"),
    (
        size,
        "server/stats.py",
        "class C:\n    async def f():\n" + "        x = 1\n" * FUNCTION_LINES_MAX,
        "fit a screen",
    ),
    (docstring, "server/stats.py", "x = 1", "has no docstring"),
    (
        requests_write_nothing,
        "core/requests/devices.py",
        "def f(engine, session):\n    engine.all[session] = 1",
        "state",
    ),
    (requests_write_nothing, "core/requests/devices.py", "def f(device):\n    device.heard_ms += 1", "writes state"),
    (requests_write_nothing, "core/requests/devices.py", "def f(user):\n    del user.devices['x']", "writes state"),
    (requests_write_nothing, "core/requests/__init__.py", "from presenced.core.records import X", "engine's"),
    (imports_at_the_top, "server/stats.py", "def f():\n    import json", "inside f"),
    (
        imports_at_the_top,
        "server/stats.py",
        "class C:\n    async def f():\n        from json import loads",
        "inside f",
    ),
    (imports_at_the_top, "server/stats.py", "def f():\n    from presenced.core import engine", "inside f"),
    (imports_at_the_top, "server/stats.py", "def f():\n    import rich", "inside f"),
    (imports_at_the_top, "cli/ctl.py", "def f():\n    import json", "inside f"),
]


@pytest.mark.parametrize(("rule", "path", "text", "says"), BREACHES)
def test_a_breach_is_seen(rule: Rule, path: str, text: str, says: str) -> None:
    complaints = [why for _, why in rule(read(f"presenced/{path}", text))]
    assert len(complaints) >= 1
    assert says in complaints[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("address.py", '"""."""\nfrom presenced.errors import X\nfrom presenced.limits import Y'),
        ("wire/frames.py", '"""."""\nfrom presenced.errors import X\nfrom presenced import limits'),
        ("core/engine.py", '"""."""\nfrom presenced.wire.messages import X\nfrom .merge import merge'),
        ("storage/log.py", '"""."""\nfrom presenced.core.records import Fact\nimport os'),
        (
            "server/stats.py",
            '"""."""\nimport asyncio\nfrom presenced import __version__\nfrom presenced.core import model',
        ),
        ("client/session.py", '"""."""\nfrom presenced.wire import messages\nimport random'),
        ("cli/ctl.py", '"""."""\ndef f():\n    import rich\n    from presenced.client import connect'),
        ("core/engine.py", '"""."""\nfor x in {1: 2}: ...\nfound = x in {1, 2}'),
        ("server/stats.py", '"""."""\ntry: ...\nexcept Exception:\n    log()'),
        ("server/stats.py", '"""."""\ntry: ...\nexcept OSError: pass'),
        ("__init__.py", '"""."""\nfrom presenced.client import connect'),
        ("examples/chat.py", '"""."""\nimport presenced\nimport presenced.sync'),
    ],
)
def test_what_is_allowed_passes(path: str, text: str) -> None:
    assert [why for rule in RULES for _, why in rule(read(f"presenced/{path}", text))] == []


@pytest.mark.parametrize(
    ("path", "text", "says"),
    [
        ("results/outcome.py", "from bench.machine.meter import Meter", "a layer not below it"),
        ("machine/meter.py", "from bench.load import links", "a layer not below it"),
        ("load/links.py", "from bench.peers.base import PeerLink", "a layer not below it"),
        ("load/links.py", "from ..peers import base", "bench.peers.base"),
        ("load/links.py", "import bench", "a layer not below it"),
        ("peers/base.py", "def f():\n    from bench.profiles import graph", "a layer not below it"),
        ("profiles/soak.py", "from bench.profiles.mixed import live", "a layer not below it"),
        ("profiles/soak.py", "from bench.report import table", "a layer not below it"),
        ("profiles/soak.py", "from bench.catalog import PROFILES", "a layer not below it"),
        ("report/html.py", "from bench.load import links", "a layer not below it"),
        ("runner.py", "from bench.profiles import graph", "a layer not below it"),
        ("paths.py", "from bench.errors import BenchError", "nothing of the bench"),
        ("load/links.py", "from presenced.core.engine import Engine", "measures from outside"),
        ("load/filling.py", "from presenced.server import turn", "measures from outside"),
        ("profiles/core.py", "from presenced.server import links", "measures from outside"),
        ("profiles/graph.py", "import presenced", "measures from outside"),
        ("machine/disk.py", "from presenced.limits import X", "nothing of it"),
        ("load/links.py", "from tests.bench import made_up", "without the tests"),
        ("extras/new.py", "", "has no place"),
    ],
)
def test_a_breach_in_the_bench_is_seen(path: str, text: str, says: str) -> None:
    complaints = [why for _, why in bench_layering(read(f"bench/{path}", text))]
    assert len(complaints) == 1
    assert says in complaints[0]
