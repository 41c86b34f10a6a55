"""Each rule broken once, and what it allows."""

from __future__ import annotations

import pytest

from tests.tidy.layers import bench_layering, circles, layering
from tests.tidy.names import files_are_nouns, one_meaning
from tests.tidy.purity import IMPURE, core_is_synchronous, purity
from tests.tidy.rules import OF_THE_TABLES, RULES
from tests.tidy.shape import (
    FILE_LINES_MAX,
    FILE_LINES_NEVER,
    FUNCTION_LINES_MAX,
    docstring,
    imports_at_the_top,
    no_swallowing,
    size,
)
from tests.tidy.sources import FileRule, WholeRule, read
from tests.tidy.state import owners, requests_write_nothing

LONG = '"""Steps of one walk. It is long because they are read in one go."""'

BREACHES: list[tuple[FileRule, str, str, str]] = [
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
    (purity, "client/protocol/session.py", "import asyncio", "a simulator"),
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
    (size, "server/stats.py", "\n" * (FILE_LINES_MAX + 1), "split it, or its docstring says"),
    (size, "server/stats.py", '"""x"""' + "\n" * (FILE_LINES_MAX + 1), "split it, or its docstring says"),
    (size, "server/stats.py", LONG + "\n" * (FILE_LINES_NEVER + 1), "more than one job"),
    (size, "server/stats.py", LONG, "is not long"),
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
    (requests_write_nothing, "chat_commands/verbs.py", "def f(call):\n    call.user.text = ''", "writes state"),
    (layering, "core/engine.py", "from presenced import chat_commands", "a layer not below it"),
    (layering, "chat_commands/verbs.py", "from presenced.server import turn", "a layer not below it"),
    (purity, "chat_commands/verbs.py", "import time", "is deterministic"),
    (imports_at_the_top, "server/stats.py", "def f():\n    import json", "inside f"),
    (
        imports_at_the_top,
        "server/stats.py",
        "class C:\n    async def f():\n        from json import loads",
        "inside f",
    ),
    (imports_at_the_top, "webhooks/follower.py", "def f():\n    from presenced.core import engine", "inside f"),
    (imports_at_the_top, "server/stats.py", "def f():\n    import rich", "inside f"),
    (imports_at_the_top, "cli/ctl.py", "def f():\n    import json", "inside f"),
    (files_are_nouns, "core/watching.py", "", "no noun"),
    (files_are_nouns, "core/lone_held.py", "", "no noun"),
    (files_are_nouns, "core/followed/__init__.py", "", "no noun"),
    (files_are_nouns, "core/parts/wide.py", "", "no noun"),
]


@pytest.mark.parametrize(("rule", "path", "text", "says"), BREACHES)
def test_a_breach_is_seen(rule: FileRule, path: str, text: str, says: str) -> None:
    complaints = [why for _, why in rule(read(f"presenced/{path}", text))]
    assert len(complaints) >= 1
    assert says in complaints[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("address.py", '"""."""\nfrom presenced.errors import X\nfrom presenced.limits import Y'),
        ("wire/frames.py", '"""."""\nfrom presenced.errors import X\nfrom presenced import limits'),
        ("core/engine.py", '"""."""\nfrom presenced.wire.messages import X\nfrom .merge import merge'),
        ("core/requests/__init__.py", '"""."""\nclass C:\n    def __init__(self, table):\n        self.table = table'),
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
        ("server/stats.py", LONG + "\n" * (FILE_LINES_MAX + 1)),
        ("core/event_feed.py", '"""."""'),
        ("examples/chat.py", '"""."""\nimport presenced\nimport presenced.sync'),
    ],
)
def test_what_is_allowed_passes(path: str, text: str) -> None:
    file = [read(f"presenced/{path}", text)]
    assert [str(complaint) for rule in RULES if rule.__name__ not in OF_THE_TABLES for complaint in rule(file)] == []


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
        ("report/page.py", "from bench.load import links", "a layer not below it"),
        ("runner.py", "from bench.profiles import graph", "a layer not below it"),
        ("paths.py", "from bench.errors import BenchError", "nothing of the bench"),
        ("load/links.py", "from presenced.core.engine import Engine", "measures from outside"),
        ("load/directory_maker.py", "from presenced.server import turn", "measures from outside"),
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


CLASS = (
    "class Session:\n    def __init__(self):\n        self.pending = []\n        self.rest = 0\n        self.other = {}"
)
WHEEL = "class Wheel:\n    def add(self): ...\nclass Engine:\n    def __init__(self):\n        self.wheel = Wheel()\n"

TOGETHER: list[tuple[WholeRule, dict[str, str], list[str]]] = [
    (circles, {"core/a.py": "import presenced.core.b", "core/b.py": "from presenced.core import a"}, ["a", "b"]),
    (
        circles,
        {"core/a.py": "from . import b", "core/b.py": "from .c import X", "core/c.py": "from .a import Y"},
        ["a", "b", "c"],
    ),
    (circles, {"core/a.py": "if TYPE_CHECKING:\n    from . import b", "core/b.py": "from .a import X"}, ["a", "b"]),
    (circles, {"core/a.py": "def f():\n    from . import b", "core/b.py": "from .a import X"}, ["a", "b"]),
    (circles, {"core/a.py": "from . import b", "core/b.py": "", "core/c.py": "from . import a, b"}, []),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    s.pending = []"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    s.rest += 1"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    s.rest, t = 1, 2"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    s.a.other[1] = 2"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    del s.other[1]"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    s.pending.append(1)"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "class C:\n    def f(self):\n        self.s.rest = 1"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    p = s.pending\n    p.clear()"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    if p := s.pending:\n        p.clear()"}, ["x"]),
    (owners, {"core/model.py": CLASS, "core/outboxes.py": "def f(s):\n    s.pending.append(1)"}, []),
    (owners, {"core/model.py": CLASS + "\ndef f(s):\n    s.rest = 1"}, []),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    p = list(s.pending)\n    p.clear()"}, []),
    (owners, {"core/model.py": CLASS, "core/x.py": "def f(s):\n    return s.pending, s.other.get(1)"}, []),
    (owners, {"core/engine.py": WHEEL, "core/x.py": "def f(engine):\n    engine.wheel.add()"}, []),
    (owners, {"core/engine.py": WHEEL, "core/x.py": "def f(engine):\n    engine.wheel.pop()"}, ["x"]),
    (owners, {"core/x.py": "import gc\ndef f(context):\n    gc.callbacks.append(1)\n    context.verify_mode = 2"}, []),
    (one_meaning, {"core/model.py": "class Session: ...", "client/session.py": "class Session: ..."}, ["session"]),
    (one_meaning, {"core/x.py": "Answer = int | str", "ops/x.py": "Answer: TypeAlias = int"}, ["x"]),
    (one_meaning, {"core/x.py": "LIMIT = 1\nclass _Own: ...", "ops/x.py": "LIMIT = 2\nclass _Own: ..."}, []),
]


@pytest.mark.parametrize(("rule", "files", "accused"), TOGETHER)
def test_what_files_do_to_each_other_is_seen(rule: WholeRule, files: dict[str, str], accused: list[str]) -> None:
    complaints = rule([read(f"presenced/{path}", text) for path, text in files.items()])
    assert sorted({read(complaint.path, "").module.split(".")[-1] for complaint in complaints}) == accused
