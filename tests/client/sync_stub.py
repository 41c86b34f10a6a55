"""Writes presenced/sync.pyi: what the synchronous clients have, for type checkers and editors. `make stub` runs it.

At run time each of their methods is made from the asynchronous client's as it is asked for. A type checker would take
that to mean that every name exists; so the methods are written down for it, from the same signatures. A test holds the
file against what this would write.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import presenced
from presenced.client.pages import Page
from presenced.client.streams import Stream

REPOSITORY = Path(__file__).parents[2]

CLIENTS = {"BlockingClient": presenced.Client, "BlockingService": presenced.Service}
STREAMS = {
    "BlockingWatch": (presenced.Watch, "Change"),
    "BlockingChannelWatch": (presenced.ChannelWatch, "MemberChange"),
    "BlockingEveryoneWatch": (presenced.EveryoneWatch, "Change"),
    "BlockingEvents": (presenced.Events, "Event"),
    "BlockingContactsWatch": (presenced.ContactsWatch, "Change"),
    "BlockingContactChanges": (presenced.ContactChanges, "ContactChange"),
    "BlockingLosses": (presenced.Losses, "Taken"),
}
RETURNED = {kind.__name__: name for name, (kind, _) in STREAMS.items()} | {"Page": "BlockingPage"}

ELSEWHERE = {
    "OwnCallback": "presenced.client.own_state",
    "Page": "presenced.client.pages",
    "StateCallback": "presenced.client.link_state",
    "TakenCallback": "presenced.client.service_devices",
    "PresenceError": "presenced.errors",
    "RequestError": "presenced.errors",
}
"""Where names of annotations come from that are not the client's own."""

ABSTRACT = ("Awaitable", "Callable", "Iterable", "Iterator", "Mapping")


def members(kind: type, without: type = object) -> list[tuple[str, Any]]:
    """What a caller sees of it, in order of name."""
    hidden = {"close", "aclose", "start", *(name for name in dir(without) if without is Stream)}
    return [(name, inspect.getattr_static(kind, name)) for name in dir(kind) if name[0] != "_" and name not in hidden]


def returned(annotation: str) -> str:
    """What the synchronous method gives."""
    found = re.fullmatch(r"AsyncIterator\[(.*)\]", annotation)
    return f"BlockingIterator[{found[1]}]" if found else RETURNED.get(annotation, annotation)


def written(name: str, function: Callable[..., Any], result: str | None = None) -> str:
    """One method, or function, on a line."""
    signature = inspect.signature(function)
    parts, is_keyword = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            parts.append("*")
        star = "*" if one.kind is one.VAR_POSITIONAL else ""
        is_keyword |= bool(star)
        typed = "" if one.annotation is one.empty else f": {one.annotation}"
        default = "" if one.default is one.empty else " = ..." if typed else "=..."
        parts.append(f"{star}{one.name}{typed}{default}")
    return f"def {name}({', '.join(parts)}) -> {result or returned(str(signature.return_annotation))}: ..."


def body(found: list[tuple[str, Any]]) -> list[str]:
    lines = []
    for name, value in found:
        if isinstance(value, property):
            assert value.fget is not None
            lines += ["    @property", f"    {written(name, value.fget)}"]
        elif inspect.isfunction(value):
            lines.append(f"    {written(name, value)}")
    return lines


ENDS = "exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None"


def stub() -> str:
    """The file's text, before it is formatted."""
    lines = ["class Blocking(Generic[C]):", "    def close(self, *, bye: bool = ...) -> None: ..."]
    lines += ["    def __enter__(self) -> Self: ...", f"    def __exit__(self, {ENDS}) -> None: ...", ""]
    for name, kind in CLIENTS.items():
        lines += [f"class {name}(Blocking[{kind.__name__}]):", *body(members(kind)), ""]
    lines += ["class BlockingIterator(Generic[T]):", "    def __iter__(self) -> Iterator[T]: ..."]
    lines += ["    def __next__(self) -> T: ...", "    def close(self) -> None: ..."]
    lines += ["    def __enter__(self) -> Self: ...", "    def __exit__(self, *exc: object) -> None: ...", ""]
    for name, (kind, item) in STREAMS.items():
        lines += [f"class {name}(BlockingIterator[{item}]):", *(body(members(kind, Stream)) or ["    ..."]), ""]
    page = [(name, value) for name, value in members(Page) if name != "close"]
    lines += ["class BlockingPage:", "    user: str", "    device: str", "    is_open: bool", *body(page)]
    lines += ["    def close(self, *, lost: bool = ...) -> None: ...", "    def __enter__(self) -> Self: ..."]
    lines += [f"    def __exit__(self, {ENDS}) -> None: ...", ""]
    for name, connect in (("BlockingClient", presenced.connect), ("BlockingService", presenced.connect_service)):
        lines.append(written(connect.__name__, connect, name))
    text = "\n".join(lines) + "\n"
    return head(text) + text


def head(text: str) -> str:
    """The imports of what `text` names."""
    named = set(re.findall(r"\b[A-Za-z]\w+", text))
    own = [name for name in vars(presenced.client) if name in named and name[0].isupper()]
    lines = ["# Written by tests/client/sync_stub.py.", "", *(["import ssl"] if "ssl" in named else [])]
    lines.append(f"from collections.abc import {', '.join(name for name in ABSTRACT if name in named)}")
    lines += ["from types import TracebackType", "from typing import Any, Generic, Self, TypeVar", ""]
    lines.append(f"from presenced.client import {', '.join(sorted(own))}")
    for name, module in ELSEWHERE.items():
        if name in named and name not in own:
            lines.append(f"from {module} import {name}")
    lines += ["from presenced.client.client_base import ConnectedClient", ""]
    lines += ['T = TypeVar("T")', 'C = TypeVar("C", bound=ConnectedClient)', "", ""]
    return "\n".join(lines)


def write(path: Path) -> None:
    """The file, formatted as the rest of the repository."""
    path.write_text(stub())
    for options in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        command = [sys.executable, "-m", "ruff", *options, "--config", str(REPOSITORY / "pyproject.toml"), str(path)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    write(REPOSITORY / "presenced" / "sync.pyi")
