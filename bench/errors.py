"""The one error of the bench."""

from __future__ import annotations


class BenchError(Exception):
    """The run could not be made or is void; the text says what to do."""
