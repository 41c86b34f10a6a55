"""For tests of applications: a presence server inside the test, on a clock that the test moves.

    from presenced.testing import TestServer

    async def test_she_is_away_after_five_minutes():
        async with TestServer(away_after="5m") as server:
            await server.connect("anna")
            await server.advance(minutes=6)
            assert await server.status_of("anna") == "away"

It needs the extra `presenced[testing]`. For pytest there is the fixture `presence_server`, and for applications without
asyncio `BlockingTestServer`.
"""

# The names load on first use: pytest loads the plugin beside this file in each run, where nobody may need a server.

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["TestServer", "BlockingTestServer", "StatusChange", "InjectedFault", "TestServerError", "StandstillError"]

if TYPE_CHECKING:
    from presenced.testing.blocking_server import BlockingTestServer
    from presenced.testing.errors import StandstillError, TestServerError
    from presenced.testing.faults import InjectedFault
    from presenced.testing.history import StatusChange
    from presenced.testing.server import TestServer
else:
    _PLACES = {
        "TestServer": "server",
        "BlockingTestServer": "blocking_server",
        "StatusChange": "history",
        "InjectedFault": "faults",
    }

    # Hidden from type checkers: to them it would mean that every name is there.
    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module 'presenced.testing' has no attribute {name!r}")
        from importlib import import_module

        try:
            module = import_module(f"presenced.testing.{_PLACES.get(name, 'errors')}")
        except ModuleNotFoundError as error:
            raise ImportError(
                f"presenced.testing needs the libraries of a server, and {error.name} is not installed: "
                "pip install 'presenced[testing]'"
            ) from error
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    """For Tab and `help`, which would see only what was used by then."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
