"""Kinds of option values that both commands take."""

from __future__ import annotations

from typing import Any

import click

from presenced.durations import parse_duration_ms, parse_span_ms


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions of click
    """A duration such as 30m, 1h30m or 200ms, in milliseconds."""

    name = "duration"

    def __init__(self, *, is_span: bool = False) -> None:
        self.parse = parse_span_ms if is_span else parse_duration_ms
        """`is_span`: how long something holds, of which zero would say nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds, or a usage error that says what can be written."""
        if isinstance(value, int):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
