"""Kinds of option values that both commands take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from presenced.durations import parse_duration_ms, parse_span_ms


class DurationParameter(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions of click
    """A duration such as 30m, 1h30m or 200ms, in milliseconds."""

    name = "duration"

    def __init__(self, *, is_span: bool = False) -> None:
        self.parse = parse_span_ms if is_span else parse_duration_ms
        """`is_span`: the value says how long something holds, so zero is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds, or a usage error that says what can be written."""
        if isinstance(value, int):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class MomentParameter(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions of click
    """A time such as 2026-11-30T12:00:00Z, or how long ago it was, such as 1h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, or a usage error that says what can be written."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.now(UTC) - timedelta(milliseconds=parse_duration_ms(value))
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is no time; write it like 2026-11-30T12:00:00Z, or as a duration such as 1h", param, ctx
            )
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no time zone; end it in Z for UTC, or in an offset such as +02:00", param, ctx)
        return moment


class NumberOrWord(click.ParamType):  # type: ignore[type-arg]  # generic only in later versions of click
    """A whole number from 0 up, or one word, which stays that word."""

    name = "number"

    def __init__(self, word: str) -> None:
        self.word = word

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number or the word, or a usage error that names both."""
        if value == self.word or isinstance(value, int):
            return str(value) if value == self.word else int(value)
        if not str(value).isascii() or not str(value).isdecimal():
            self.fail(f"{value!r} is neither a whole number nor {self.word!r}", param, ctx)
        return int(value)


class Once(click.Option):
    """An option that may be given once. click itself would silently take the last of several values."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "multiple": True})

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """The one value, None if it is not given; a usage error if there are several."""
        values = super().process_value(ctx, value)
        if values and len(values) > 1:
            raise click.UsageError(f"{self.opts[0]} was given {len(values)} times; give it once", ctx)
        return values[0] if values else None
