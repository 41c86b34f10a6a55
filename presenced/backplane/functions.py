"""Calls of the functions that the engine is given by us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from presenced.backplane.connection import CALL_S, EngineConnection
from presenced.backplane.library import Library
from presenced.backplane.wire import EngineCommand, EngineFault


class Functions:
    """The functions of one library, over one connection. They are given to an engine that lacks them."""

    def __init__(self, connection: EngineConnection, library: Library) -> None:
        self._connection = connection
        self._library = library

    async def call(self, name: str, keys: Sequence[str], *args: bytes | str | int) -> Any:
        """Call one, and return its answer. Raises what the connection raises."""
        return (await self.calls(name, keys, args))[0]

    async def calls(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[bytes | str | int],
        *,
        then: Sequence[EngineCommand] = (),
        wait_s: float = CALL_S,
    ) -> list[Any]:
        """Call one, and send commands behind it in the same go; the answers of all."""
        commands: list[EngineCommand] = [("FCALL", self._library.function(name), len(keys), *keys, *args), *then]
        try:
            return await self._connection.calls(commands, wait_s=wait_s)
        except EngineFault as error:
            if "Function not found" not in str(error):
                raise
        await self._load()
        return await self._connection.calls(commands, wait_s=wait_s)

    async def _load(self) -> None:
        """Give the functions to an engine that has none: a new one, or one of another release of ours."""
        try:
            await self._connection.call("FUNCTION", "LOAD", self._library.text)
        except EngineFault as error:
            # Another process may have been faster.
            if "already exists" not in str(error):
                raise
