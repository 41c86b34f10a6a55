"""The push backend as a process: where it says that notifications go."""

from __future__ import annotations

import re
from typing import Any

import presenced
from tests.examples.programs import run
from tests.support import REPOSITORY
from tests.support.daemon import Daemon


def test_who_is_pushed_to_and_where(daemon: Daemon) -> None:
    url = f"presence://push@{daemon.address}"
    lines = [
        "bob general: hello",
        "bob other: hello",
        "carol general: hello",
        "carol general!: fire",
        "dave x: hi",
        "a b: c",
    ]
    with presenced.sync.connect_service(f"presence://chat@{daemon.address}") as p:
        p.attach("bob", "laptop", idle=0, focus="general")
        p.attach("bob", "phone", meta="token", idle=600)
        p.attach("carol", "phone", meta="token", idle=600)
        p.add_claim("carol", "meeting", "calendar", "dnd", until=3600)
        done = run("push", "--url", url, text="\n".join([*lines, "a/b x: y", ""]))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:3] == [
        "bob: nothing (reading)",
        "bob: to laptop with sound (in_use): hello",
        "bob: to phone silently (used_elsewhere): hello",
    ]
    assert said[3].startswith("carol: not before ") and said[3].endswith(" (dnd)")
    assert said[4:] == [
        "carol: to phone with sound (urgent): fire",
        "dave: nothing (unknown)",
        "a: nothing (unknown)",
    ]
    assert "slashes" in done.stderr


async def test_the_python_of_the_readme_runs(daemon: Daemon) -> None:
    readme = (REPOSITORY / "README.md").read_text().split("## Where a notification goes")[1].split("\n## ")[0]
    (snippet,) = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    pushed: list[tuple[str, bool]] = []
    put_off: list[str] = []

    async def push(token: str, text: str, *, sound: bool) -> bool:
        pushed.append((token, sound))
        return token != "stale"

    async def later(at_ms: int, user: str, text: str, about: str) -> None:
        put_off.append(user)

    names: dict[str, Any] = {"push": push, "later": later}
    exec(snippet, names)
    async with presenced.connect_service(f"presence://chat@{daemon.address}") as p:
        await p.attach("bob", "laptop", idle=0)
        await p.attach("bob", "phone", meta="fresh", idle=600)
        await p.attach("carol", "phone", meta="stale", idle=600)
        await p.detach("carol", "phone")
        await p.add_claim("dave", "night", "calendar", "dnd", until=3600)
        await p.attach("dave", "phone", meta="fresh")
        await names["notify"](p, ["bob", "carol", "dave"], "hello", "general")
        assert (pushed, put_off) == ([("fresh", False), ("stale", True)], ["dave"])
        assert [info.meta for info in await p.get_devices("carol")] == [""], "taken away, while the device is gone"
