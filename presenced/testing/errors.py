"""What a test is told that uses a `TestServer` in a way that cannot work."""

from __future__ import annotations


class TestServerError(Exception):
    """The sentence says what is wrong and what to do instead."""

    __test__ = False


class StandstillError(TestServerError):
    """Everybody waits for something that will not come while the clock stands still, or as long as it runs."""
