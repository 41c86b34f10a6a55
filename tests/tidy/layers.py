"""Who may import whom, and that no circle of files imports one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.tidy.sources import Complaint, Source, imports, within

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
    "digests": ("wire",),
    "core": (*GROUND, "wire", "digests", "core"),
    "backplane": (*GROUND, "backplane"),
    "cluster": (*GROUND, "wire", "core", "chat_commands", "backplane.errors", "backplane.port", "cluster"),
    "chat_commands": (*GROUND, "wire", "core", "chat_commands"),
    "storage": (*GROUND, "core.records", "core.event_chunks", "core.dormants", "storage"),
    "config": (*GROUND, "core.policy", "core.rights", "config"),
    "server": (
        *GROUND,
        "config",
        "wire",
        "core",
        "chat_commands",
        "storage",
        "backplane",
        "cluster",
        "server",
        "__version__",
    ),
    "http": (*GROUND, "config", "wire", "server", "http"),
    "webhooks": (*GROUND, "config", "core.rights", "wire", "server", "webhooks", "__version__"),
    "ops": (*GROUND, "runtime_paths", "config", "wire", "server", "http", "webhooks", "ops", "__version__"),
    # The supervisor of several daemons: it runs none itself, and has an operator's side as each of them has.
    "nodes": (
        *GROUND,
        "runtime_paths",
        "config",
        "server.clocks",
        "server.listeners",
        "ops.admin",
        "ops.notifier",
        "nodes",
    ),
    "client": (*GROUND, "wire", "digests", "client", "__version__"),
    "sync": ("client",),
    "conformance": ("", "conformance"),
    "opentelemetry": ("errors", "client", "__version__"),
    "cli": (
        *GROUND,
        "runtime_paths",
        "config",
        "wire",
        "core",
        "storage",
        "server",
        "webhooks",
        "ops",
        "http",
        "nodes",
        "client",
        "cli",
        "__version__",
    ),
    "testing": (*GROUND, "config", "wire", "core", "server", "client", "http", "testing"),
    "__init__": (*GROUND, "wire", "client", "sync"),
    "__main__": ("cli",),
    "examples": ("", "sync"),
}
"""What each part of the package may import from the package ("" = `import presenced` itself). A part that is not named
here is refused. The examples do with what every application has."""

SIDES: dict[str, str] = {"cluster.links": "cluster.log", "cluster.log": "cluster.links"}
"""Which part of a package knows nothing of which other: each has what is between them from `cluster.ports`."""

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
    "load.directory_maker": ("wire", "core", "storage"),
    "load.sleepers": ("limits", "wire", "core", "storage", "server.heap", "server.snapshots"),
    "load.stores": ("core.records", "storage"),
    "profiles.reconnection": ("limits", "wire", "digests"),
    "profiles.store": ("core.records",),
    "profiles.core": ("wire", "core", "server.turn", "server.fact_log"),
    "profiles.channel": ("wire", "core", "server.turn", "server.fact_log"),
    "profiles.operate": ("wire", "cli.admin_link"),
}
"""What parts and modules of the bench know of the package: the bench measures the daemon from outside.
`directory_maker` and `sleepers` run in processes of their own, two profiles measure the engine alone, and `store` the
log alone."""


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
        for side, other in SIDES.items():
            if within(source.module, (side,)) and within(inner, (other,)):
                yield line, f"{side} imports {name}: hand in what it needs, or name a protocol in cluster.ports"


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


def circles(sources: Sequence[Source]) -> Iterator[Complaint]:
    """Files that import one another, directly or round about. `TYPE_CHECKING` imports count: who must name the other's
    type to be read is not separate from it."""
    by_module = {source.module: source for source in sources}
    arrows = {source.module: list(_arrows(source, by_module)) for source in sources}
    for circle in _circles(arrows):
        for module in circle:
            source = by_module[module]
            others = sorted({name for name in arrows[module] if name in circle})
            line = next(line for line, name in imports(source) if _module_of(name, by_module) in others)
            why = f"is in a circle of imports with {', '.join(others)}: hand in what it needs, or name a protocol"
            yield Complaint(source.path, line, "", why)


def _arrows(source: Source, by_module: dict[str, Source]) -> Iterator[str]:
    for _, name in imports(source):
        module = _module_of(name, by_module)
        if module is not None and module != source.module:
            yield module


def _module_of(name: str, by_module: dict[str, Source]) -> str | None:
    """The file that an import names: `presenced.core.model.User` is of `core.model`."""
    top, _, inner = name.partition(".")
    if top not in ("presenced", "bench"):
        return None
    while inner and inner not in by_module:
        inner = inner.rpartition(".")[0]
    return inner or None


def _circles(arrows: dict[str, list[str]]) -> list[set[str]]:
    """The modules that reach each other, group by group. O(modules * arrows), which is some hundred thousand steps."""
    reached = {module: _reached(module, arrows) for module in arrows}
    groups: list[set[str]] = []
    for module in arrows:
        if module in reached[module] and not any(module in group for group in groups):
            groups.append({other for other in reached[module] if module in reached[other]})
    return groups


def _reached(start: str, arrows: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(arrows[start])
    while ahead:
        module = ahead.pop()
        if module not in found:
            found.add(module)
            ahead.extend(arrows[module])
    return found
