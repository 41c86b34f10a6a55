"""The examples of the README's chapter on testing, as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import presenced
from presenced.testing import BlockingTestServer, TestServer
from presenced.testing.faults import InjectedFault
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
CHAPTER = README.partition("\n## Testing your application\n")[2].partition("\n## ")[0]


def examples() -> dict[str, Callable[..., Any]]:
    names: dict[str, Any] = {"pytest": pytest, "presenced": presenced}
    blocks = re.findall(r"^```python\n(.*?)^```", CHAPTER, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    return {name: value for name, value in names.items() if name.startswith("test_")}


async def test_the_example() -> None:
    await examples()["test_the_desk_notices_who_is_away"]()


async def test_the_example_with_a_fixture() -> None:
    async with TestServer(away_after="1m") as server:
        await examples()["test_with_a_fixture"](server)


def test_the_example_without_asyncio() -> None:
    with BlockingTestServer() as server:
        examples()["test_without_asyncio"](server)


async def test_each_failure_of_the_table_can_be_called_so() -> None:
    rows = re.findall(r"^\| [^|]+ \| (`.*`) \|$", CHAPTER, re.MULTILINE)
    assert len(rows) == 9
    async with TestServer() as server:
        anna = await server.connect("anna")
        names: dict[str, Any] = {"server": server, "anna": anna}
        for quoted in re.findall(r"`([^`]+)`", " ".join(rows)):
            call = quoted.removeprefix("with ").removeprefix("await ").removesuffix(":")
            if call.startswith("("):
                call = f"server.lose_link{call}"
            elif not call.startswith("server."):
                call = f"server.{call}"
            if "lose_link" in call:
                await server.until_connected(anna)
            done = eval(call, names)
            if isinstance(done, InjectedFault):
                done.end()
            elif done is not None:
                await done
